//! Would break if a stale or wrong answer went unseen, was sorted wrongly, or an honest app was accused.

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

/// Runs a lying app for some seconds of reads, writes and whatever else is asked for.
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

fn kinds(seen: &Measurements) -> Vec<(StaleKind, u64)> {
    StaleKind::ALL
        .into_iter()
        .map(|kind| (kind, seen.stale_of_kind(kind, |_| true)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn wrong(seen: &Measurements) -> Vec<WrongKind> {
    seen.freshness(|_| true).wrong.into_keys().collect()
}

/// Fails unless stale reads of this kind were found, and none worse. Lesser kinds are there too: an entry may end just
/// behind a stale read, a key may be written again, and a run ends before every case is sorted.
fn worst_kind(ran: &CompletedRun, kind: StaleKind) {
    let found = kinds(&ran.seen());
    let sorted = found.iter().map(|(found, _)| *found).filter(|found| *found != StaleKind::Unclassified);
    assert_eq!(sorted.max(), Some(kind), "{found:?}; {}", ran.said());
    assert_eq!(ran.code, Some(1), "{}", ran.said());
}

#[test]
fn an_honest_app_is_accused_of_nothing_whatever_is_written_deleted_and_made_anew() {
    let rules =
        ["stale == 0", "stale.stuck == 0", "stale_age.max < 1ms", "wrong_answers == 0", "wrong_answers.torn == 0"];
    let ran = run(NO_DEFECTS, 30, &[READ, UPDATE, DELETE, LIST, ME], "settle = \"200ms\"", "4s", &rules);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let seen = ran.seen();
    let counts = seen.freshness(|_| true);
    assert!(counts.probes > 0, "probe reads followed writes: {counts:?}");
    let judged = seen.total(|_| true).judged_fresh;
    assert!(judged > 300, "{judged} reads were judged");
    assert!(counts.probes as f64 <= 0.02 * seen.count(|_| true) as f64, "at most 2 %: {counts:?}");
    let goose = seen.end.as_ref().and_then(|end| end.goose_requests);
    assert_eq!(goose, Some(seen.count(|_| true)), "probe reads are no requests of the load");
}

#[test]
fn a_cache_that_nobody_invalidates_is_stuck_and_an_example_tells_the_story() {
    let defects = CacheDefects { invalidation_delay: None, ..NO_DEFECTS };
    let ran =
        run(defects, 40, &[READ, UPDATE], "settle = \"300ms\"", "4s", &["stale.stuck == 0", "stale_age.p50 < 1ms"]);
    worst_kind(&ran, StaleKind::Stuck);
    let seen = ran.seen();
    let (_, example) = seen.stale_reads.first().expect("an example is kept");
    let acknowledged = example
        .history
        .iter()
        .any(|event| event.what == "write" && event.how == "acknowledged" && event.to.is_some_and(|to| to < 0.0));
    assert!(acknowledged, "the write before it is told: {example:?}");
    assert!(
        example.history.iter().any(|event| event.what == "read" && event.version == example.version),
        "{example:?}"
    );
    assert!(example.age_at_least <= example.age_at_most && example.age_at_least > 0.0, "{example:?}");
    let sorted =
        seen.stale_classifications.iter().find(|sorted| sorted.id == example.id).expect("it was looked at again");
    assert!(sorted.rechecks.iter().any(|look| look.past_cache && look.stale == Some(false)), "{sorted:?}");
    let curve = seen.freshness_curve(|_| true);
    assert!(curve.iter().any(|point| point.stale > 0 && point.share() < 1.0), "{curve:?}");
}

#[test]
fn what_is_gone_within_the_settling_time_is_transient() {
    let defects = CacheDefects { invalidation_delay: Some(Duration::from_millis(250)), ..NO_DEFECTS };
    let ran = run(defects, 40, &[READ, UPDATE], "settle = \"1500ms\"", "4s", &["stale.transient == 0"]);
    // A key that is written all the time can be stale at each look, for another write each time.
    let found = kinds(&ran.seen());
    assert!(found.iter().any(|(kind, _)| *kind == StaleKind::Transient), "{found:?}; {}", ran.said());
    assert!(!found.iter().any(|(kind, _)| *kind == StaleKind::Stuck), "{found:?}; {}", ran.said());
}

#[test]
fn what_outlives_its_ttl_is_told_from_what_is_stuck_until_then() {
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
fn a_source_that_is_behind_is_not_put_down_to_the_cache() {
    let defects = CacheDefects { source_lags: true, ..NO_DEFECTS };
    let ran = run(defects, 40, &[READ, UPDATE], "settle = \"200ms\"", "3s", &["stale.source == 0"]);
    worst_kind(&ran, StaleKind::SourceRegressed);
}

#[test]
fn a_cached_not_found_that_outlives_the_create_is_lost() {
    let defects = CacheDefects { caches_not_found: true, ..NO_DEFECTS };
    let rules = ["wrong_answers.lost == 0", "stale == 0"];
    let ran = run(defects, 10, &[READ, UPDATE], "settle = \"200ms\"", "3s", &rules);
    assert_eq!((ran.code, wrong(&ran.seen())), (Some(1), vec![WrongKind::Lost]), "{}", ran.said());
    assert!(ran.stdout.contains("lost items"), "{}", ran.said());
    assert!(ran.stdout.contains("0 stale"), "and nothing else is wrong: {}", ran.said());
}

#[test]
fn a_list_that_nobody_makes_anew_is_stale() {
    let defects = CacheDefects { caches_list: true, ..NO_DEFECTS };
    let rules = ["stale for read == 0", "stale for list == 0"];
    let ran = run(defects, 40, &[READ, UPDATE, DELETE, LIST], "settle = \"200ms\"", "3s", &rules);
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    let seen = ran.seen();
    assert!(seen.stale_reads.iter().all(|(_, read)| read.call == "GET /items"), "{:?}", seen.stale_reads);
    assert!(seen.stale_reads.iter().any(|(_, read)| read.gone), "a deleted item was still listed");
    assert!(seen.stale_reads.iter().any(|(_, read)| !read.gone), "an old version was still listed");
}

#[test]
fn answers_of_other_users_torn_ones_and_inventions_are_each_their_own_kind() {
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
        assert_eq!((ran.code, wrong(&ran.seen())), (Some(1), vec![kind]), "{defects:?}: {}", ran.said());
    }
}

#[test]
fn without_versions_answers_are_compared_at_rest_and_the_report_says_how_weak_that_is() {
    let update = UPDATE.replace("{token}", "{random}");
    let honest = CacheDefects { hides_versions: true, ..NO_DEFECTS };
    let stuck = CacheDefects { invalidation_delay: None, ..honest };
    for (defects, code) in [(honest, 0), (stuck, 1)] {
        let ran = run(defects, 40, &[READ, &update], "settle = \"200ms\"", "2s", &["stale == 0"]);
        assert_eq!(ran.code, Some(code), "{}", ran.said());
        let at_quiescence = ran.seen().at_quiescence.clone();
        assert!(at_quiescence[0].compared > 10 && (at_quiescence[0].differ > 0) == (code == 1), "{at_quiescence:?}");
        let report = std::fs::read_to_string(ran.directory().join("report.md")).expect("a report");
        assert!(report.contains("carry no version"), "{report}");
    }
}

#[test]
fn users_that_still_write_are_no_rest_to_compare_at() {
    let update = UPDATE.replace("{token}", "{random}");
    let busy = CacheDefects { hides_versions: true, takes: Duration::from_millis(200), ..NO_DEFECTS };
    let slow = ["traffic.timeout=1s".to_owned()];
    let ran = run_with(busy, 40, &[READ, &update], "settle = \"200ms\"", "3s", &["stale == 0"], &slow);
    assert_eq!(ran.code, Some(4), "{}", ran.said());
    assert_eq!(ran.seen().at_quiescence, Vec::new());
    assert!(ran.stdout.contains("after 'steady' the app did not come to rest"), "{}", ran.said());
    assert!(ran.seen().notes.iter().any(|note| note.contains("nothing was compared at rest")), "{}", ran.said());
}

#[test]
fn a_database_that_numbers_a_new_life_from_one_is_not_accused_for_the_cache() {
    let defects = CacheDefects { invalidation_delay: None, ..NO_DEFECTS };
    let delete = DELETE.replace("weight = 4", "weight = 12");
    let ran = run(defects, 20, &[READ, UPDATE, &delete], "settle = \"300ms\"", "5s", &["stale == 0"]);
    assert_eq!(ran.code, Some(1), "{}", ran.said());
    let seen = ran.seen();
    let accused: Vec<_> =
        seen.stale_classifications.iter().filter(|one| one.kind == StaleKind::SourceRegressed).collect();
    assert!(accused.is_empty(), "{accused:?}");
}

#[test]
fn two_instances_on_one_redis_serve_nothing_stale_torn_or_lost() {
    let file = root().join("tests/scenarios/freshness.toml");
    let ran = run_scenario(&file, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said());
    let judged = ran.seen().total(|_| true).judged_fresh;
    assert!(judged > 500, "{judged} reads were judged");
}
