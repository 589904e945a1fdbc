//! Fails if the URLs and bodies that other stacks have by default cannot be judged, or are judged for the wrong reason.

use crate::support::{CompletedRun, root, run_scenario};

/// A run of tests/scenarios/shapes.toml with the app in this mode.
fn run(mode: &str, sets: &[&str]) -> CompletedRun {
    let start = format!("target.start=[\"python3\", \"tests/fixtures/shapes/app.py\", \"{{port}}\", \"{mode}\"]");
    let sets: Vec<String> = [start.as_str()].iter().chain(sets).map(|set| (*set).to_owned()).collect();
    run_scenario(&root().join("tests/scenarios/shapes.toml"), &sets)
}

fn rulings(ran: &CompletedRun) -> Vec<(String, String)> {
    let summary = ran.summary();
    let criteria = summary["verdict"]["criteria"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    criteria.iter().map(|criterion| (text(&criterion["says"]), text(&criterion["ruling"]))).collect()
}

#[test]
fn every_shape_of_path_and_body_is_judged_and_a_right_app_passes() {
    let ran = run("plain", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
}

#[test]
fn stale_answers_are_seen_by_every_shape_of_path() {
    let ran = run("stale", &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    for (says, ruling) in rulings(&ran).iter().filter(|(says, _)| says != "No errors") {
        assert_eq!(ruling, "fail", "{says}: {}", ran.said());
    }
}

#[test]
fn the_answer_of_another_item_is_seen_before_the_run() {
    let ran = run("other", &[]);
    assert_eq!(ran.code, Some(3), "{}", ran.said());
    assert!(ran.stderr.contains("asked for id 1, got id 0"), "{}", ran.said());
}

#[test]
fn a_slug_is_the_identity_and_that_of_another_item_is_wrong() {
    let run = |mode: &str| {
        let start = format!("target.start=[\"python3\", \"tests/fixtures/shapes/app.py\", \"{{port}}\", \"{mode}\"]");
        let sets =
            [start, "target.identity=slug".to_owned(), "traffic.request.read.get=/items/article-{item}".to_owned()];
        run_scenario(&root().join("tests/scenarios/reconnects.toml"), &sets)
    };
    let right = run("plain");
    assert_eq!(right.code, Some(0), "{}", right.said());
    let wrong = run("other");
    assert_eq!(wrong.code, Some(3), "{}", wrong.said());
    assert!(wrong.stderr.contains("asked for slug article-1, got slug"), "{}", wrong.said());
}

#[test]
fn a_body_that_cannot_be_read_is_refused_with_the_true_reason() {
    for (mode, why) in [
        ("unknown-encoding", "the content encoding \"compress\", which cacheproof cannot unpack"),
        ("not-gzip", "the body is not gzip, which its header Content-Encoding says"),
        ("bomb", "longer than 8 MiB when it is unpacked"),
        ("big", "longer than 8 MiB"),
        ("endless", "longer than 8 MiB"),
    ] {
        let ran = run(mode, &[]);
        assert_eq!(ran.code, Some(3), "{mode}: {}", ran.said());
        let said = ran.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(said.contains(why), "{mode}: {}", ran.said());
    }
}
