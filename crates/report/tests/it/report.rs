//! The rendered report: it says what was measured, lets no markup through, and is the same each time.

use std::path::Path;

use cacheproof_core::journal::JOURNAL_FILE;
use cacheproof_core::measurements::Measurements;
use cacheproof_report::{self as report, render};
use cacheproof_verdict::judge;

use cacheproof_simulated::{HOSTILE, SimulationPlan, journal, scenario};

fn rendered(plan: &SimulationPlan) -> Vec<(String, Vec<u8>)> {
    let (scenario, measurements) = (scenario(plan), Measurements::of(&journal(plan)));
    render(&scenario, &measurements, &judge(&scenario, &measurements)).expect("it renders")
}

fn text(files: &[(String, Vec<u8>)], name: &str) -> String {
    let (_, bytes) = files.iter().find(|(file, _)| file == name).expect("the file is there");
    String::from_utf8(bytes.clone()).expect("it is UTF-8")
}

/// The first thing that is not XML, or tags that are not closed. Enough to know that a viewer would show it.
fn xml_trouble(text: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        if rest[..start].contains("]]>")
            || rest[..start].contains(|letter: char| letter.is_control() && !"\n\t".contains(letter))
        {
            return Some(format!("text that XML forbids before {:?}", &rest[start..rest.len().min(start + 40)]));
        }
        let end = start + rest[start..].find('>')?;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        match tag.as_bytes().first() {
            Some(b'?' | b'!') => {}
            Some(b'/') if open.pop() == Some(name) => {}
            Some(b'/') => return Some(format!("</{name}> closes nothing")),
            _ if tag.ends_with('/') => {}
            _ if tag.matches('"').count() % 2 == 1 => return Some(format!("an open quote in <{tag}>")),
            _ => open.push(name),
        }
    }
    (!open.is_empty()).then(|| format!("never closed: {open:?}"))
}

#[test]
fn the_same_journal_gives_the_same_bytes() {
    let plan = SimulationPlan::default();
    let (first, second) = (rendered(&plan), rendered(&plan));
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "report.html",
            "report.md",
            "summary.json",
            "junit.xml",
            "summary.png",
            "charts/response-percentiles.svg",
            "charts/response-p95.svg",
            "charts/hit-rate.svg",
            "charts/hit-rate-recovery.svg",
            "charts/outcomes.svg",
            "charts/throughput.svg",
            "charts/database-queries.svg",
            "charts/redis-memory.svg",
            "scenario.toml"
        ]
    );
    for ((name, first), (_, second)) in first.iter().zip(&second) {
        assert!(first == second, "{name} differs");
    }
}

#[test]
fn markdown_junit_and_summary_stay_as_they_are() {
    let files = rendered(&SimulationPlan { hit_share: 0.2, stale_every: 300, ..SimulationPlan::default() });
    insta::assert_snapshot!("report.md", text(&files, "report.md"));
    insta::assert_snapshot!("junit.xml", text(&files, "junit.xml"));
    insta::assert_snapshot!("summary.json", text(&files, "summary.json"));
}

/// Several faults at once and one again and again: each has its lane, its marks and its line.
#[test]
fn each_of_several_faults_is_drawn_and_listed() {
    let plan = SimulationPlan { several: true, reconnect_after: 3, ..SimulationPlan::default() };
    let files = rendered(&plan);
    insta::assert_snapshot!("several-faults.md", text(&files, "report.md"));
    let page = text(&files, "report.html");
    for name in ["response-p95", "hit-rate", "outcomes", "throughput", "database-queries", "redis-memory"] {
        let svg = text(&files, &format!("charts/{name}.svg"));
        assert_eq!(xml_trouble(&svg), None, "{name}");
        for word in ["1 latency redis", "2 kill redis", "3 flush", "injected", "undone", "service back"] {
            assert!(svg.contains(word), "{name} lacks {word}");
        }
    }
    assert_eq!(page.matches("<strong>pause postgres</strong>").count(), 3, "one line for each round");
    let summary: serde_json::Value = serde_json::from_str(&text(&files, "summary.json")).expect("JSON");
    let faults = summary["faults"].as_array().expect("a list");
    assert_eq!(faults.len(), 6);
    assert_eq!((&faults[0]["connections"], &faults[5]["round"]), (&16.into(), &2.into()));
    let dashed = text(&files, "charts/hit-rate.svg");
    assert!(dashed.contains("a cold cache, at best"), "the refill curve is drawn");
}

/// Without examples a count of stale reads does not show where to look.
#[test]
fn each_stale_read_is_shown_with_its_history_and_the_rest_is_counted() {
    let plan = SimulationPlan { stale_every: 300, stale_examples: 12, ..SimulationPlan::default() };
    let (first, second) = (rendered(&plan), rendered(&plan));
    assert!(first == second, "another report each time");
    let (page, markdown) = (text(&first, "report.html"), text(&first, "report.md"));
    let section = |text: &str, from: &str, to: &str| {
        let start = text.find(from).expect("the section is there");
        text[start..][..text[start..].find(to).expect("it ends")].to_owned()
    };
    insta::assert_snapshot!("stale.html", section(&page, "<h2>Stale reads", "</section>"));
    insta::assert_snapshot!(
        "stale.md",
        section(&markdown, "### Stale reads", "<details><summary>Examples of problems")
    );
    let summary: serde_json::Value = serde_json::from_str(&text(&first, "summary.json")).expect("JSON");
    let freshness = &summary["freshness"];
    assert_eq!(freshness["examples"].as_array().map(Vec::len), Some(10));
    assert_eq!((&freshness["more_examples"], &freshness["non_monotonic"]), (&2.into(), &1.into()));
    let kinds = freshness["kinds"].as_object().expect("counts");
    assert_eq!(
        kinds.values().filter_map(serde_json::Value::as_u64).sum::<u64>(),
        freshness["stale"].as_u64().expect("a count")
    );
    assert_eq!(kinds["stuck"], 3);
    let svg = text(&first, "charts/freshness.svg");
    assert_eq!(xml_trouble(&svg), None);
    for word in ["fresh", "95 %", "n: reads in each step"] {
        assert!(svg.contains(word) && page.contains(word), "{word}");
    }

    let hostile = rendered(&SimulationPlan { hostile: true, ..plan });
    let page = text(&hostile, "report.html");
    assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{1b}'));
    assert!(text(&hostile, "report.md").len() < 60_000);
    assert!(!text(&hostile, "report.md").contains("<script"), "a tag in the examples");
}

#[test]
fn nothing_is_drawn_of_freshness_where_nothing_was_judged() {
    let names = rendered(&SimulationPlan::default()).into_iter().map(|(name, _)| name);
    assert!(names.into_iter().all(|name| name != "charts/freshness.svg"));
}

#[test]
fn a_journal_of_an_older_version_still_renders() {
    // No fine slices: recovery is measured on the coarse ones, to a second.
    let plan = SimulationPlan { fine_slices: false, ..SimulationPlan::default() };
    let summary: serde_json::Value = serde_json::from_str(&text(&rendered(&plan), "summary.json")).expect("JSON");
    assert!(summary["faults"][0]["limits"]["step"].as_f64().is_some(), "{}", summary["faults"][0]);

    let directory = tempfile::tempdir().expect("a directory");
    let older = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/journals/before-pulses.jsonl");
    std::fs::copy(older, directory.path().join(JOURNAL_FILE)).expect("the committed run is there");
    let judged = report::render_run(directory.path()).expect("it renders");
    assert_eq!(judged.verdict.faults.len(), judged.measurements.fault_windows().len());
}

#[test]
fn the_page_needs_no_network_and_no_script_and_fits_a_mail() {
    let files = rendered(&SimulationPlan::default());
    let page = text(&files, "report.html");
    assert!(page.len() < 1_000_000, "{}", page.len());
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'"));
    for loads in ["<script", "<link", "<img", "url(", "@import", " src=", "javascript:"] {
        assert!(!page.contains(loads), "{loads}");
    }
    let links: Vec<&str> = page.matches("http://www.w3.org/2000/svg").collect();
    assert_eq!(page.matches("http://").count(), links.len() + 1, "only names of namespaces, and the app's address");
}

#[test]
fn every_figure_is_xml_with_a_description_and_unique_ids() {
    let files = rendered(&SimulationPlan::default());
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".svg")) {
        let svg = String::from_utf8(bytes.clone()).expect("UTF-8");
        assert_eq!(xml_trouble(&svg), None, "{name}");
        assert!(svg.contains("role=\"img\"") && svg.contains("<desc id="), "{name}");
        assert!(!svg.contains("#0102"), "{name} has a colour that no theme replaced");
        assert!(svg.matches("<text").count() > 8, "{name} lost its labels");
    }
    let page = text(&files, "report.html");
    let mut ids: Vec<&str> =
        page.match_indices(" id=\"").map(|(at, _)| page[at + 5..].split('"').next().unwrap()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id occurs twice: {ids:?}");
}

#[test]
fn hostile_names_and_bodies_stay_text_everywhere() {
    let files = rendered(&SimulationPlan { hostile: true, errors_down: 0.05, ..SimulationPlan::default() });
    for (name, bytes) in files.iter().filter(|(name, _)| !name.ends_with(".png")) {
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        if name.ends_with(".toml") || name.ends_with(".json") {
            continue; // a copy, and a format with its own escapes, read back below
        }
        assert!(!text.contains("<script"), "{name} holds markup from outside");
        assert!(!text.contains(['\u{202e}', '\u{1}', '\u{1b}']), "{name} holds control characters");
        assert!(!text.contains(&"x".repeat(400)) && !text.contains(&"y".repeat(400)), "{name} holds endless names");
        if name.ends_with(".xml") || name.ends_with(".svg") {
            assert_eq!(xml_trouble(&text), None, "{name}");
        }
    }
    let summary: serde_json::Value = serde_json::from_str(&text(&files, "summary.json")).expect("JSON");
    assert_eq!(summary["run"]["title"], HOSTILE, "JSON escapes, it does not shorten");
    assert!(!text(&files, "report.md").contains("@team"), "a mention would write to people");
}

#[test]
fn a_run_that_died_before_its_first_phase_still_has_a_report() {
    let files = rendered(&SimulationPlan { stop_at: Some(1.4), ..SimulationPlan::default() });
    let page = text(&files, "report.html");
    assert!(page.contains("The run is incomplete") && page.contains("there is nothing to draw"));
    assert!(!files.iter().any(|(name, _)| name.starts_with("charts/")));
}

#[test]
fn markdown_that_is_too_long_loses_whole_sections_but_never_the_verdict() {
    let plan = SimulationPlan::default();
    let mut scenario = scenario(&plan);
    for criterion in &mut scenario.criteria {
        criterion.says += &"w".repeat(250);
    }
    scenario.phases[3].name = "p".repeat(60);
    let criteria = scenario.criteria.clone();
    scenario.criteria.extend((0..60).flat_map(|_| criteria.clone()));
    let mut measurements = Measurements::of(&journal(&plan));
    measurements.notes = vec!["n".repeat(590); 60];
    let files = render(&scenario, &measurements, &judge(&scenario, &measurements)).expect("it renders");
    let page = text(&files, "report.md");
    assert!(page.len() <= 60 * 1024, "{}", page.len());
    assert!(page.starts_with("### ✅ pass"), "{}", &page[..100]);
    assert!(page.trim_end().ends_with("_Shortened: the rest is in report.html._"), "it says so");
    assert!(page.contains("| ✅ pass | Hit rate") && page.contains(" more.\n"), "the first criteria are there");
    assert!(page.contains("### Cached and uncached") && !page.contains("### What makes"), "{page}");
    assert_eq!(page.matches("<details>").count(), page.matches("</details>").count(), "no section is cut in two");
}

#[test]
fn a_file_that_can_not_be_written_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    // A file where a directory is needed: also root can't write there.
    std::fs::write(directory.path().join("charts"), "in the way").unwrap();
    let error = report::write(directory.path(), &[("charts/a.svg".to_owned(), Vec::new())]).unwrap_err();
    assert!(error.to_string().contains("charts"), "{error}");
    // A device that is always full.
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = report::ReportError::Write { path: "report.html".into(), source: full };
    let advice = miette::Diagnostic::help(&error).map(|help| help.to_string()).unwrap_or_default();
    assert!(advice.contains("disk is full"), "{advice}");
}
