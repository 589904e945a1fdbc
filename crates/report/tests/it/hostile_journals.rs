//! Journals that no run writes: a message or a report, never a panic. The table changes each number of each kind of line
//! to each of the extreme values, in all such lines, so that sums overflow where anything can.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use cacheproof_core::journal::{JOURNAL_FILE, JournalEntry, JournalError};
use cacheproof_report::{JudgedRun, ReportError, judge_run, render_pages};
use cacheproof_simulated::{SimulationPlan, journal};
use serde_json::{Value, json};

/// Numbers to put in the place of another. What is no number of Rust's never gets further than its parser.
const EXTREMES: [&str; 9] =
    ["0", "0.5", "1e-320", "1000000000000", "9223372036854775807", "18446744073709551615", "-1", "1e308", "-1e308"];

/// The place of the changed number, which serde_json would not take.
const HOLE: &str = "\"@hole@\"";

/// A short run with a line of every kind.
fn lines() -> Vec<Value> {
    static LINES: OnceLock<Vec<Value>> = OnceLock::new();
    LINES.get_or_init(make_lines).clone()
}

fn make_lines() -> Vec<Value> {
    let plan = SimulationPlan { stale_every: 300, stale_examples: 3, ..SimulationPlan::default() };
    let all = journal(&plan);
    let mut kept = Vec::new();
    let mut counts = std::collections::BTreeMap::new();
    for JournalEntry { at, event } in all {
        let event = serde_json::to_value(event).expect("it serialises");
        let kind = event.as_object().and_then(|event| event.keys().next().cloned()).expect("an event has a name");
        // Every second of some phases would make each of hundreds of cases slow.
        let phase = event.pointer(&format!("/{kind}/cells/0/phase")).cloned();
        let seen: &mut usize = counts.entry((kind.clone(), phase.map(|phase| phase.to_string()))).or_default();
        *seen += 1;
        if !["window", "pulse", "sample"].contains(&kind.as_str())
            || *seen <= 2
            || kind == "sample" && seen.is_multiple_of(9)
        {
            kept.push(json!({ "at": at, "event": event }));
        }
    }
    let end = kept.pop().expect("the end");
    let at = end["at"].clone();
    let more = json!([
        { "note": { "text": "a note" } },
        { "at_rest": { "phase": 2, "compared": 9, "differ": 1, "incomparable": 1, "not_bypassed": 1, "unread": 1, "skipped": 1, "examples": ["GET /posts/1"] } },
        { "example": { "phase": 0, "kind": "error", "request": "GET /posts/1", "detail": "status 500" } },
        { "proxy_cost": { "round_trips": 300, "direct": 20000, "added": 9000 } },
        { "stale_sorted": { "id": 1, "kind": "stuck", "looks": [{ "after": 1.5, "past_cache": true, "version": 7, "stale": true }],
            "reads": [{ "phase": 2, "path": "cached", "request": 0, "count": 3 }] } },
    ]);
    kept.extend(more.as_array().expect("a list").iter().map(|event| json!({ "at": at, "event": event })));
    kept.push(end);
    kept
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn judge(bytes: &[u8]) -> Result<JudgedRun, ReportError> {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join(JOURNAL_FILE), bytes).expect("it can be written");
    judge_run(directory.path())
}

/// Everything but the picture: it shows nothing more, and takes most of the time.
fn pages(judged: &JudgedRun) -> Vec<(String, Vec<u8>)> {
    render_pages(&judged.scenario, &judged.measurements, &judged.verdict).expect("what can be judged can be rendered")
}

/// The ways to all numbers: names, and `*` for each place in a list.
fn ways(value: &Value, way: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    match value {
        Value::Number(_) => {
            found.insert(way.clone());
        }
        Value::Array(all) => all.iter().for_each(|one| {
            way.push("*".to_owned());
            ways(one, way, found);
            way.pop();
        }),
        Value::Object(all) => all.iter().for_each(|(name, one)| {
            way.push(name.clone());
            ways(one, way, found);
            way.pop();
        }),
        _ => {}
    }
}

fn set(value: &mut Value, way: &[String]) {
    match (way.split_first(), value) {
        (None, value @ Value::Number(_)) => *value = json!("@hole@"),
        (Some((step, rest)), Value::Array(all)) if step == "*" => all.iter_mut().for_each(|one| set(one, rest)),
        (Some((step, rest)), Value::Object(all)) => {
            if let Some(one) = all.get_mut(step) {
                set(one, rest);
            }
        }
        _ => {}
    }
}

/// Every number with two of the extreme values, others for each: over all numbers of a kind of line, all of them.
#[test]
fn no_number_in_any_line_makes_the_report_panic() {
    let (refused, judged) = try_numbers(&|index| {
        [EXTREMES[index % EXTREMES.len()], EXTREMES[(index + EXTREMES.len() / 2) % EXTREMES.len()]].to_vec()
    });
    assert!(refused > 50 && judged > 20, "{refused} refused, {judged} judged");
}

mod slow {
    use super::*;

    /// A hundred numbers and nine values for each.
    #[test]
    fn no_number_with_any_value_makes_the_report_panic() {
        let (refused, judged) = try_numbers(&|_| EXTREMES.to_vec());
        assert!(refused > 300 && judged > 100, "{refused} refused, {judged} judged");
    }
}

/// Changes each number to these values; how many journals were refused, and how many judged.
fn try_numbers(values: &dyn Fn(usize) -> Vec<&'static str>) -> (u32, u32) {
    let lines = lines();
    let mut found = BTreeSet::new();
    lines.iter().for_each(|line| ways(line, &mut Vec::new(), &mut found));
    assert!(found.len() > 90, "{found:?}");
    let (mut refused, mut judged) = (0, 0);
    // The largest number that is taken, in every place together.
    let mut all = lines.clone();
    for (index, way) in found.iter().enumerate() {
        let hole = |lines: &[Value]| {
            let mut changed = lines.to_vec();
            changed.iter_mut().for_each(|line| set(line, way));
            text(&changed)
        };
        let (changed, mut taken) = (hole(&lines), None);
        assert!(changed.contains(HOLE), "{way:?}");
        for extreme in values(index) {
            match judge(changed.replace(HOLE, extreme).as_bytes()) {
                Ok(_) => {
                    judged += 1;
                    taken = Some(extreme);
                }
                Err(ReportError::Journal(error)) => {
                    assert!(error.to_string().contains("line "), "{way:?} = {extreme}: {error}");
                    refused += 1;
                }
                Err(error) => panic!("{way:?} = {extreme}: {error}"),
            }
        }
        let Some(taken) = taken else { continue };
        let together = hole(&all).replace(HOLE, taken);
        if let Ok(judged) = judge(together.as_bytes()) {
            all = together.lines().map(|line| serde_json::from_str(line).expect("it was read")).collect();
            if index % 16 == 0 {
                pages(&judged);
            }
        }
    }
    pages(&judge(text(&all).as_bytes()).expect("it was judged before"));
    (refused, judged)
}

/// A line with another in its place, before it or after it.
fn with(change: impl Fn(&mut Vec<Value>)) -> Vec<u8> {
    let mut lines = lines();
    change(&mut lines);
    text(&lines).into_bytes()
}

fn of_kind(lines: &[Value], kind: &str) -> usize {
    lines.iter().position(|line| line["event"].get(kind).is_some()).unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn a_journal_that_no_run_writes_gets_one_message_that_says_what_is_wrong() {
    let double = |kind: &'static str| {
        with(move |lines| {
            let at = of_kind(lines, kind);
            lines.insert(at + 1, lines[at].clone());
        })
    };
    let whole = text(&lines());
    let histogram = |response: &str| {
        with(|lines| {
            let at = of_kind(lines, "window");
            lines[at]["event"]["window"]["cells"][0]["response"] = json!(response);
        })
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("run_started twice", double("run_started"), "one run_started line"),
        ("phase begins twice", double("phase_started"), "begins after a later one, or twice"),
        ("phase ends twice", double("phase_ended"), "ends without having begun, or twice"),
        ("run ends twice", double("run_ended"), "after the run_ended line"),
        (
            "round without an undo",
            with(|lines| {
                let at = of_kind(lines, "fault");
                let mut again = lines[at].clone();
                again["event"]["fault"]["round"] = json!(1);
                lines.insert(at + 1, again);
            }),
            "out of order",
        ),
        ("two lines swapped", with(|lines| lines.swap(20, 40)), "lies before that of the line above"),
        ("not begun", with(|lines| drop(lines.remove(0))), "does not begin with a run_started line"),
        ("a newer format", with(|lines| lines[0]["event"]["run_started"]["journal"] = json!(99)), "use a newer one"),
        ("no journal", whole.replace("\"at\"", "at").into_bytes(), "does not begin with a run_started line"),
        (
            "no JSON later",
            whole.replacen("\"pulse\":{", "\"pulse\":[", 1).into_bytes(),
            "not a line of a cacheproof journal",
        ),
        ("an unknown event", whole.replace("\"proxy_cost\"", "\"proxy_costs\"").into_bytes(), "unknown variant"),
        ("NUL", whole.replace("\"pulse\"", "\"pul\0se\"").into_bytes(), "control character"),
        ("no UTF-8", [whole.as_bytes(), b"\xff\xfe\n"].concat(), "expected value"),
        ("a byte order mark", [b"\xef\xbb\xbf", whole.as_bytes()].concat(), "does not begin with a run_started line"),
        ("empty", Vec::new(), "does not begin with a run_started line"),
        ("one newline", b"\n".to_vec(), "does not begin with a run_started line"),
        (
            "deep nesting",
            format!("{whole}{{\"at\":1,\"event\":{}\n", "[".repeat(1_000_000)).into_bytes(),
            "not a line of a cacheproof journal",
        ),
        ("deep nesting at the start", "[".repeat(1_000_000).into_bytes(), "does not begin with a run_started line"),
        (
            "a long line",
            format!("{whole}{{\"at\":1,\"event\":{{\"note\":{{\"text\":\"{}\"}}}}}}\n", "x".repeat(33 << 20))
                .into_bytes(),
            "longer than",
        ),
        ("a long line without an end", format!("{whole}{}", "x".repeat(33 << 20)).into_bytes(), "longer than"),
        (
            "a huge scenario",
            with(|lines| lines[0]["event"]["run_started"]["scenario"] = json!("#".repeat(5 << 20))),
            "longer than",
        ),
        ("no histogram", histogram("HISTFAAAAAo"), "a histogram"),
        ("no base64", histogram("!"), "Invalid symbol"),
        (
            "phase 9 of 5",
            with(|lines| {
                let at = of_kind(lines, "pulse");
                lines[at]["event"]["pulse"]["cells"][0]["phase"] = json!(9);
            }),
            "there is no phase 9",
        ),
        (
            "request 99",
            with(|lines| {
                let at = of_kind(lines, "window");
                lines[at]["event"]["window"]["cells"][0]["request"] = json!(99);
            }),
            "there is no request 99",
        ),
        (
            "fault 5 of 1",
            with(|lines| {
                let at = of_kind(lines, "fault");
                lines[at]["event"]["fault"]["fault"] = json!(5);
            }),
            "has no fault 5",
        ),
        (
            "more limits",
            with(|lines| {
                let at = of_kind(lines, "window");
                lines[at]["event"]["window"]["cells"][0]["over"] = json!(vec![0; 40]);
            }),
            "as many numbers as the run has limits",
        ),
    ];
    for (name, bytes, wanted) in cases {
        match judge(&bytes) {
            Err(ReportError::Journal(error)) => {
                let message = error.to_string();
                assert!(message.contains(wanted), "{name}: {message}");
                assert!(message.len() < 600, "{name}: {message}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let refused = |make: &dyn Fn(&Path)| {
        let directory = tempfile::tempdir().expect("a directory");
        make(&directory.path().join(JOURNAL_FILE));
        match judge_run(directory.path()) {
            Err(ReportError::Journal(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let directory = refused(&|path| std::fs::create_dir(path).expect("it can be made"));
    assert!(matches!(directory, JournalError::NoFile { .. }), "{directory}");
    let pipe = refused(&|path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().is_ok_and(|status| status.success()));
    });
    assert!(matches!(pipe, JournalError::NoFile { .. }), "{pipe}");
    let device = refused(&|path| std::os::unix::fs::symlink("/dev/zero", path).expect("it can be made"));
    assert!(matches!(device, JournalError::NoFile { .. }), "{device}");
    assert!(matches!(refused(&|_| {}), JournalError::Read { .. }));
}

#[test]
fn a_journal_of_a_run_is_read_whatever_ends_its_lines_and_wherever_it_was_cut() {
    let whole = text(&lines());
    pages(&judge(whole.as_bytes()).expect("as it is"));
    judge(whole.replace('\n', "\r\n").as_bytes()).expect("with the line ends of Windows");
    let first = whole.find('\n').expect("a line") + 1;
    for cut in [first, first + 1, whole.len() / 3, whole.len() / 2, whole.len() - 2] {
        judge(&whole.as_bytes()[..cut]).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
    }
}

#[test]
fn thousands_of_events_of_one_kind_make_a_report_that_can_be_opened() {
    let plan = SimulationPlan { several: true, ..SimulationPlan::default() };
    let directory = tempfile::tempdir().expect("a directory");
    let lines: Vec<Value> =
        journal(&plan).iter().map(|line| serde_json::to_value(line).expect("it serialises")).collect();
    let (end, lines) = lines.split_last().expect("lines");
    let fault = lines.iter().rev().find_map(|line| line["event"].get("fault")).expect("a fault").clone();
    let mut bytes = text(lines);
    let (mut at, last) = (end["at"].as_f64().expect("a time"), fault["round"].as_u64().expect("a round"));
    for round in last + 1..=last + 20_000 {
        for stage in ["begun", "injected", "seen", "undone", "seen_undone"] {
            let mut event = fault.clone();
            (event["round"], event["stage"]) = (json!(round), json!(stage));
            at += 0.001;
            bytes += &format!("{}\n", json!({ "at": at, "event": { "fault": event } }));
        }
        for kind in [
            json!({ "note": { "text": "a note" } }),
            json!({ "example": { "phase": 0, "kind": "error", "request": "GET /", "detail": "x" } }),
        ] {
            bytes += &format!("{}\n", json!({ "at": at, "event": kind }));
        }
    }
    bytes += &format!("{}\n", json!({ "at": at, "event": end["event"] }));
    std::fs::write(directory.path().join(JOURNAL_FILE), bytes).expect("it can be written");
    let judged = judge_run(directory.path()).expect("it can be judged");
    assert!(judged.verdict.faults.len() > 20_000);
    for (name, bytes) in &pages(&judged) {
        // summary.json has every fault, for programs.
        let most = if name == "summary.json" { 60 << 20 } else { 5 << 20 };
        assert!(bytes.len() < most, "{name}: {} bytes", bytes.len());
    }
}
