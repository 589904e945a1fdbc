//! Fails if a stale or wrong answer is missed or classified wrongly, or if a correct app gets one reported.

use std::time::Duration;

use cacheproof::journal::{StaleKind, WrongKind};
use cacheproof::measurements::Measurements;

use crate::faulty_app::{CacheDefects, NO_DEFECTS, start};
use crate::support::{CompletedRun, root, run_scenario};

const READ: &str = "[[traffic.request]]\nname = \"read\"\nget = \"/items/{item}\"\nweight = 60\nexpect = [404]\n";
const UPDATE: &str = r#"[[traffic.request]]
name = "update"
put = "/items/{item}"
body = '{"title": "{token}", "text": "of {token}"}'
weight = 12
"#;
const DELETE: &str = "[[traffic.request]]\nname = \"delete\"\ndelete = \"/items/{item}\"\nweight = 4\nexpect = [404]\n";
const LIST: &str = r#"[[traffic.request]]
name = "list"
get = "/items"
weight = 6
list = { of = "/items/{item}", items = "items", id = "id", version = "version" }
"#;
const ME: &str = "[[traffic.request]]\nname = \"me\"\nget = \"/me\"\nweight = 20\nheaders = { \"X-User\" = \"{user}\" }\nowner = \"user\"\n";

/// Runs a faulty app for some seconds with these requests.
fn run(
    defects: CacheDefects,
    items: u64,
    requests: &[&str],
    freshness: &str,
    lasts: &str,
    rules: &[&str],
) -> CompletedRun {
    run_with(defects, items, requests, freshness, lasts, rules, &[])
}

fn run_with(
    defects: CacheDefects,
    items: u64,
    requests: &[&str],
    freshness: &str,
    lasts: &str,
    rules: &[&str],
    sets: &[String],
) -> CompletedRun {
    let address = start(defects, items);
    let version = if defects.hides_versions { "" } else { "version = \"version\"" };
    let tokens = if defects.hides_versions { "" } else { "tokens = [\"title\", \"text\"]" };
    let text = format!(
        r#"
title = "freshness"
seed = 5
freshness = {{ {freshness} }}

[target]
kind = "http"
url = "http://{address}"
identity = "id"
{version}
{tokens}
bypass = {{ query = "fresh=1" }}

[data]
items = 40
users = 5

[traffic]
rate = "300/s"
connections = 16

{}

[[phase]]
name = "steady"
lasts = "{lasts}"

[[criterion]]
says = "what is looked at"
rules = {rules:?}
"#,
        requests.concat()
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("freshness.toml");
    std::fs::write(&file, text).expect("written");
    run_scenario(&file, sets)
}

fn kinds(measurements: &Measurements) -> Vec<(StaleKind, u64)> {
    StaleKind::ALL
        .into_iter()
        .map(|kind| (kind, measurements.stale_of_kind(kind, |_| true)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn wrong(measurements: &Measurements) -> Vec<WrongKind> {
    measurements.freshness(|_| true).wrong.into_keys().collect()
}

/// Fails unless stale reads of this kind were found, and none of a worse kind. Others are possible: an entry may expire
/// right after a stale read, a key may be written again, and a run may end before every case is classified.
fn worst_kind(ran: &CompletedRun, kind: StaleKind) {
    let found = kinds(&ran.measurements());
    let sorted = found.iter().map(|(found, _)| *found).filter(|found| *found != StaleKind::Unclassified);
    assert_eq!(sorted.max(), Some(kind), "{found:?}; {}", ran.said());
    assert_eq!(ran.code, Some(1), "{}", ran.said());
}

#[test]
fn a_correct_app_has_no_stale_or_wrong_answers_through_updates_deletes_and_creates() {
    let rules =
        ["stale == 0", "stale.stuck == 0", "stale_age.max < 1ms", "wrong_answers == 0", "wrong_answers.torn == 0"];
    let ran = run(NO_DEFECTS, 30, &[READ, UPDATE, DELETE, LIST, ME], "settle = \"200ms\"", "4s", &rules);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let measurements = ran.measurements();
    let counts = measurements.freshness(|_| true);
    assert!(counts.probes > 0, "probe reads followed writes: {counts:?}");
    let judged = measurements.total(|_| true).judged_fresh;
    assert!(judged > 300, "{judged} reads were judged");
    assert!(counts.probes as f64 <= 0.02 * measurements.count(|_| true) as f64, "at most 2 %: {counts:?}");
    let goose = measurements.end.as_ref().and_then(|end| end.goose_requests);
    assert_eq!(goose, Some(measurements.count(|_| true)), "probe reads are no requests of the load");
}

#[test]
fn without_invalidation_stale_reads_are_stuck_and_an_example_shows_their_history() {
    let defects = CacheDefects { invalidation_delay: None, ..NO_DEFECTS };
    let ran =
        run(defects, 40, &[READ, UPDATE], "settle = \"300ms\"", "4s", &["stale.stuck == 0", "stale_age.p50 < 1ms"]);
    worst_kind(&ran, StaleKind::Stuck);
    let measurements = ran.measurements();
    let (_, example) = measurements.stale_reads.first().expect("an example is kept");
    let acknowledged = example
        .history
        .iter()
        .any(|event| event.what == "write" && event.how == "acknowledged" && event.to.is_some_and(|to| to < 0.0));
    assert!(acknowledged, "its history has the write before it: {example:?}");
    assert!(
        example.history.iter().any(|event| event.what == "read" && event.version == example.version),
        "{example:?}"
    );
    assert!(example.age_at_least <= example.age_at_most && example.age_at_least > 0.0, "{example:?}");
    let sorted =
        measurements.stale_classifications.iter().find(|sorted| sorted.id == example.id).expect("it was rechecked");
    assert!(sorted.rechecks.iter().any(|look| look.past_cache && look.stale == Some(false)), "{sorted:?}");
    let curve = measurements.freshness_curve(|_| true);
    assert!(curve.iter().any(|point| point.stale > 0 && point.share() < 1.0), "{curve:?}");
}

#[test]
fn a_stale_value_that_is_gone_within_the_settle_time_is_transient() {
    let defects = CacheDefects { invalidation_delay: Some(Duration::from_millis(250)), ..NO_DEFECTS };
    let ran = run(defects, 40, &[READ, UPDATE], "settle = \"1500ms\"", "4s", &["stale.transient == 0"]);
    // A key that is written often can be stale at each recheck, because of another write each time.
    let found = kinds(&ran.measurements());
    assert!(found.iter().any(|(kind, _)| *kind == StaleKind::Transient), "{found:?}; {}", ran.said());
    assert!(!found.iter().any(|(kind, _)| *kind == StaleKind::Stuck), "{found:?}; {}", ran.said());
}

#[test]
fn beyond_ttl_is_distinguished_from_stuck() {
    let defects = CacheDefects { invalidation_delay: None, ..NO_DEFECTS };
    let freshness = "settle = \"200ms\", ttl = \"500ms\"";
    let ran = run(defects, 40, &[READ, UPDATE], freshness, "5s", &["stale.beyond_ttl == 0"]);
    worst_kind(&ran, StaleKind::BeyondTtl);
    let defects = CacheDefects { ttl: Some(Duration::from_millis(1500)), ..defects };
    let freshness = "settle = \"100ms\", ttl = \"1500ms\"";
    let ran = run(defects, 40, &[READ, UPDATE], freshness, "5s", &["stale.stuck == 0"]);
    worst_kind(&ran, StaleKind::Stuck);
}

#[test]
fn a_stale_source_is_not_blamed_on_the_cache() {
    let defects = CacheDefects { source_lags: true, ..NO_DEFECTS };
    let ran = run(defects, 40, &[READ, UPDATE], "settle = \"200ms\"", "3s", &["stale.source == 0"]);
    worst_kind(&ran, StaleKind::SourceRegressed);
}

#[test]
fn a_cached_not_found_that_outlives_the_create_is_lost() {
    let defects = CacheDefects { caches_not_found: true, ..NO_DEFECTS };
    let rules = ["wrong_answers.lost == 0", "stale == 0"];
    let ran = run(defects, 10, &[READ, UPDATE], "settle = \"200ms\"", "3s", &rules);
    assert_eq!((ran.code, wrong(&ran.measurements())), (Some(1), vec![WrongKind::Lost]), "{}", ran.said());
    assert!(ran.stdout.contains("lost items"), "{}", ran.said());
    assert!(ran.stdout.contains("0 stale"), "and nothing else is wrong: {}", ran.said());
}

#[test]
fn a_list_that_is_never_invalidated_is_stale() {
    let defects = CacheDefects { caches_list: true, ..NO_DEFECTS };
    let rules = ["stale for read == 0", "stale for list == 0"];
    let ran = run(defects, 40, &[READ, UPDATE, DELETE, LIST], "settle = \"200ms\"", "3s", &rules);
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    let measurements = ran.measurements();
    assert!(
        measurements.stale_reads.iter().all(|(_, read)| read.call == "GET /items"),
        "{:?}",
        measurements.stale_reads
    );
    assert!(measurements.stale_reads.iter().any(|(_, read)| read.gone), "a deleted item was still listed");
    assert!(measurements.stale_reads.iter().any(|(_, read)| !read.gone), "an old version was still listed");
}

#[test]
fn other_users_answers_torn_and_never_written_ones_are_classified() {
    for (defects, kind, rule) in [
        (CacheDefects { swaps_users: true, ..NO_DEFECTS }, WrongKind::OtherUser, "wrong_answers.other_user == 0"),
        (CacheDefects { tears_writes: true, ..NO_DEFECTS }, WrongKind::Torn, "wrong_answers.torn == 0"),
        (
            CacheDefects { invents_versions: true, ..NO_DEFECTS },
            WrongKind::NeverWritten,
            "wrong_answers.never_written == 0",
        ),
    ] {
        let ran = run(defects, 40, &[READ, UPDATE, ME], "settle = \"200ms\"", "2s", &[rule, "stale == 0"]);
        assert_eq!((ran.code, wrong(&ran.measurements())), (Some(1), vec![kind]), "{defects:?}: {}", ran.said());
    }
}

#[test]
fn without_versions_answers_are_compared_when_quiescent_and_the_report_says_so() {
    let update = UPDATE.replace("{token}", "{random}");
    let correct = CacheDefects { hides_versions: true, ..NO_DEFECTS };
    let stuck = CacheDefects { invalidation_delay: None, ..correct };
    for (defects, code) in [(correct, 0), (stuck, 1)] {
        let ran = run(defects, 40, &[READ, &update], "settle = \"200ms\"", "2s", &["stale == 0"]);
        assert_eq!(ran.code, Some(code), "{}", ran.said());
        let at_quiescence = ran.measurements().at_quiescence.clone();
        assert!(at_quiescence[0].compared > 10 && (at_quiescence[0].differ > 0) == (code == 1), "{at_quiescence:?}");
        let report = std::fs::read_to_string(ran.directory().join("report.md")).expect("a report");
        assert!(report.contains("carry no version"), "{report}");
    }
}

#[test]
fn nothing_is_compared_while_requests_are_in_flight() {
    let update = UPDATE.replace("{token}", "{random}");
    let busy = CacheDefects { hides_versions: true, takes: Duration::from_millis(200), ..NO_DEFECTS };
    let slow = ["traffic.timeout=1s".to_owned()];
    let ran = run_with(busy, 40, &[READ, &update], "settle = \"200ms\"", "3s", &["stale == 0"], &slow);
    assert_eq!(ran.code, Some(4), "{}", ran.said());
    assert_eq!(ran.measurements().at_quiescence, Vec::new());
    assert!(ran.stdout.contains("requests were still in flight after 'steady'"), "{}", ran.said());
    assert!(
        ran.measurements().notes.iter().any(|note| note.contains("No items were compared after ")),
        "{}",
        ran.said()
    );
}

#[test]
fn a_recreated_item_with_version_1_is_not_taken_for_a_regressed_source() {
    let defects = CacheDefects { invalidation_delay: None, ..NO_DEFECTS };
    let delete = DELETE.replace("weight = 4", "weight = 12");
    let ran = run(defects, 20, &[READ, UPDATE, &delete], "settle = \"300ms\"", "5s", &["stale == 0"]);
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    let measurements = ran.measurements();
    let accused: Vec<_> =
        measurements.stale_classifications.iter().filter(|one| one.kind == StaleKind::SourceRegressed).collect();
    assert!(accused.is_empty(), "{accused:?}");
}

#[test]
fn two_instances_on_one_redis_serve_nothing_stale_torn_or_lost() {
    let file = root().join("tests/scenarios/freshness.toml");
    let ran = run_scenario(&file, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let judged = ran.measurements().total(|_| true).judged_fresh;
    assert!(judged > 500, "{judged} reads were judged");
}
