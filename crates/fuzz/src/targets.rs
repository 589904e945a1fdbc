//! What is fuzzed.

use std::io::Write as _;

use cacheproof_core::journal::JOURNAL_FILE;
use cacheproof_core::scenario;
use cacheproof_load::response::cache_words;
use cacheproof_report::attach::attach_to;
use cacheproof_report::{judge_run, render_pages};
use cacheproof_simulated::{self as simulated, SimulationPlan};
use cacheproof_supervise::read_ledger;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Something that reads text from outside.
#[derive(Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in words.
    pub about: &'static str,
    /// Inputs that are right.
    pub seeds: Vec<Vec<u8>>,
    /// Words that mean something in it.
    pub words: &'static [&'static str],
    /// How many inputs the tests try.
    pub smoke_executions: u64,
    /// Reads an input. It may refuse it; it must not panic.
    pub run: fn(&[u8]),
}

/// Every target.
pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "scenario",
            about: "a scenario file",
            seeds: scenarios(),
            words: SCENARIO_WORDS,
            smoke_executions: 1_000,
            run: |input| {
                let text = String::from_utf8_lossy(input);
                if let Err(errors) = scenario::parse("fuzz.toml", &text) {
                    assert!(!errors.to_string().is_empty(), "a refusal without a message");
                }
            },
        },
        Target {
            name: "rule",
            about: "a rule of a criterion",
            seeds: RULES.iter().map(|rule| rule.as_bytes().to_vec()).collect(),
            words: SCENARIO_WORDS,
            smoke_executions: 1_000,
            run: |input| {
                let rule = String::from_utf8_lossy(input);
                // As a TOML string, whatever is in it.
                let quoted: String = rule.chars().map(|letter| format!("\\U{:08x}", u32::from(letter))).collect();
                let text = simulated::SCENARIO_TEXT.replacen("rules = [", &format!("rules = [\"{quoted}\", "), 1);
                if let Err(errors) = scenario::parse("fuzz.toml", &text) {
                    assert!(!errors.to_string().is_empty(), "a refusal without a message");
                }
            },
        },
        Target {
            name: "journal",
            about: "the events.jsonl of a run, judged and rendered",
            seeds: journals(),
            words: JOURNAL_WORDS,
            smoke_executions: 150,
            run: |input| {
                let directory = tempfile::tempdir().expect("a directory");
                std::fs::write(directory.path().join(JOURNAL_FILE), input).expect("it can be written");
                if let Ok(judged) = judge_run(directory.path()) {
                    let pages = render_pages(&judged.scenario, &judged.measurements, &judged.verdict);
                    pages.expect("what can be judged can be rendered");
                }
            },
        },
        Target {
            name: "ledger",
            about: "the undo ledger of a run",
            seeds: vec![LEDGER.as_bytes().to_vec()],
            words: &[
                "run",
                "open",
                "injected",
                "closed",
                "over",
                "undo",
                "with_run",
                "container",
                "command",
                "null",
                "true",
            ],
            smoke_executions: 1_000,
            run: |input| {
                let mut file = tempfile::NamedTempFile::new().expect("a file");
                file.write_all(input).expect("it can be written");
                let _refused = read_ledger(file.path());
            },
        },
        Target {
            name: "cache-status",
            about: "the cache headers of an answer: name and value, a header a line",
            seeds: HEADERS.iter().map(|headers| headers.as_bytes().to_vec()).collect(),
            words: &[
                "Cache-Status",
                "X-Cache",
                "CF-Cache-Status",
                "Age",
                "Via",
                "hit",
                "miss",
                "fwd=",
                "stale",
                "ttl=",
                "HIT",
                "MISS",
            ],
            smoke_executions: 5_000,
            run: |input| {
                let mut headers = HeaderMap::new();
                for line in input.split(|byte| *byte == b'\n') {
                    let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
                    let (name, value) = line.split_at(at);
                    let name = HeaderName::from_bytes(name).unwrap_or(HeaderName::from_static("cache-status"));
                    if let Ok(value) = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii()) {
                        headers.append(name, value);
                    }
                }
                cache_words::read(&headers, None);
                cache_words::read(&headers, Some("Nginx"));
                for name in headers.keys() {
                    cache_words::meaning_of(name.as_str(), &cache_words::lines(&headers, name.as_str()));
                }
            },
        },
        Target {
            name: "attach",
            about: "a story in Markdown",
            seeds: stories(),
            words: &[
                "- [ ] ",
                "- [x] ",
                "<!-- cacheproof:begin -->",
                "<!-- cacheproof:end -->",
                "```",
                "<details>",
                "---",
                "> ",
                "1. ",
            ],
            smoke_executions: 1_000,
            run: attach_story,
        },
    ]
}

fn attach_story(input: &[u8]) {
    let story = String::from_utf8_lossy(input);
    thread_local! {
        static VERDICT: cacheproof_verdict::Verdict = {
            let plan = SimulationPlan::default();
            let measurements = cacheproof_core::measurements::Measurements::of(&simulated::journal(&plan));
            cacheproof_verdict::judge(&simulated::scenario(&plan), &measurements)
        };
    }
    VERDICT.with(|verdict| {
        let Ok(attached) = attach_to(&story, verdict, "A block") else { return };
        // What was attached can be attached again, and then nothing changes.
        match attach_to(&attached.text, verdict, "A block") {
            Ok(again) => assert_eq!(again.text, attached.text, "attached twice, the story is another"),
            Err(error) => panic!("what was attached can't be attached again: {error}"),
        }
    });
}

fn scenarios() -> Vec<Vec<u8>> {
    let mut all =
        vec![simulated::SCENARIO_TEXT, simulated::SEVERAL_TEXT].into_iter().map(Vec::from).collect::<Vec<_>>();
    all.extend(files("../../scenarios", "toml"));
    all
}

fn stories() -> Vec<Vec<u8>> {
    let boxes = simulated::scenario(&SimulationPlan::default());
    let boxes = boxes.criteria.iter().map(|criterion| format!("- [ ] {}\n", criterion.says)).collect::<String>();
    let mut all = vec![format!("# A story\n\n{boxes}").into_bytes()];
    all.extend(files("../report/tests/stories", "md"));
    all
}

/// Short ones: a long one only makes each try slower.
fn journals() -> Vec<Vec<u8>> {
    let plans = [
        SimulationPlan { stale_every: 300, stale_examples: 3, stop_at: Some(30.0), ..SimulationPlan::default() },
        SimulationPlan { stale_every: 100, stale_examples: 3, ..SimulationPlan::default() },
        SimulationPlan { several: true, reconnect_after: 3, errors_down: 0.2, ..SimulationPlan::default() },
    ];
    plans.iter().map(journal).collect()
}

fn journal(plan: &SimulationPlan) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = cacheproof_core::journal::JournalWriter::create(directory.path()).expect("it can be written");
    for (number, line) in simulated::journal(plan).iter().enumerate() {
        let is_slice = matches!(
            line.event,
            cacheproof_core::journal::Event::CoarseSlice(_) | cacheproof_core::journal::Event::FineSlice(_)
        );
        // One slice in seven, so that the other lines are changed as well.
        if !is_slice || number.is_multiple_of(7) {
            writer.append(line).expect("it can be written");
        }
    }
    std::fs::read(directory.path().join(JOURNAL_FILE)).expect("it can be read")
}

/// The files of a directory with an ending, in the order of their names.
fn files(directory: &str, ending: &str) -> Vec<Vec<u8>> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|other| other == ending)).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

const SCENARIO_WORDS: &[&str] = &[
    "p95",
    "p99.9",
    "hit_rate",
    "errors",
    "stale",
    "throughput",
    "recovery",
    "requests",
    "redis_memory",
    "on cached",
    "on uncached",
    "in steady",
    "for",
    "of",
    "<=",
    ">=",
    "==",
    "!=",
    "150ms",
    "60%",
    "400/s",
    "64mb",
    "[[phase]]",
    "[[criterion]]",
    "[[traffic.request]]",
    "[target]",
    "fault = { kill = \"redis\" }",
    "lasts = \"1s\"",
    "every",
    "after",
    "${NAME}",
    "{post}",
    "warm_up = true",
];

const RULES: [&str; 12] = [
    "p95 on cached < 150ms",
    "p99.9 for 'read post' in steady <= 2.5s",
    "hit_rate in steady > 60%",
    "errors in 'redis down' < 1%",
    "stale == 0",
    "db_queries_per_request on cached < 40% of db_queries_per_request on uncached",
    "p95 on uncached > 2x p95 on cached",
    "recovery in 'redis down' < 2s",
    "redis_memory <= 100%",
    "throughput in steady >= 300/s",
    "app_memory_growth in steady < 10mb",
    "wrong_answers.other_user == 0",
];

const JOURNAL_WORDS: &[&str] = &[
    "\"pulse\"",
    "\"window\"",
    "\"sample\"",
    "\"fault\"",
    "\"phase_started\"",
    "\"phase_ended\"",
    "\"run_ended\"",
    "\"note\"",
    "cached",
    "uncached",
    "hit",
    "miss",
    "error",
    "begun",
    "injected",
    "seen",
    "undone",
    "seen_undone",
    "null",
    "true",
    "{}",
    "[]",
];

const LEDGER: &str = r#"{"at":1782000000,"entry":{"run":{"token":"abc","directory":"/tmp/x","pid":4711,"started":"12345","containers":true}}}
{"at":1782000001,"entry":{"open":{"id":1,"what":"kill redis","undo":"with_run"}}}
{"at":1782000001,"entry":{"injected":{"id":1}}}
{"at":1782000002,"entry":{"open":{"id":2,"what":"pause postgres","undo":{"container":"shop"}}}}
{"at":1782000003,"entry":{"closed":{"id":1,"how":"undone"}}}
{"at":1782000004,"entry":"over"}
"#;

const HEADERS: [&str; 8] = [
    "Cache-Status: Nginx; hit; ttl=376; key=\"a b\"",
    "Cache-Status: Origin; fwd=uri-miss; stored, \"CDN Company\"; fwd=stale; fwd-status=304; collapsed; detail=x",
    "X-Cache: HIT from proxy\nX-Cache-Lookup: HIT from proxy:80",
    "CF-Cache-Status: DYNAMIC\nAge: 17\nVia: 1.1 varnish (Varnish/6.0)",
    "X-Varnish: 32770 3\nX-Cache-Hits: 0, 12\nX-Served-By: cache-fra1",
    "X-Proxy-Cache: STALE\nX-Vercel-Cache: PRERENDER",
    "Server-Timing: cdn-cache; desc=HIT, edge; dur=1",
    "X-Drupal-Cache: MISS\nX-Cache-Status: BYPASS",
];
