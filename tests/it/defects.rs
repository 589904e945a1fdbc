//! Would break if a rule let a defect pass, or a healthy app fail.

use cacheproof::scenario::{FaultAction, Victim};

use crate::support::{Ran, root, run_scenario, sibling};

/// Runs the short scenario against the reference app with one planted defect.
fn run_with(defect: &str) -> Ran {
    let app = sibling("defective-app");
    let start = format!("target.start=[{:?}, {defect:?}]", app.display().to_string());
    run_scenario(&root().join("tests/scenarios/defects.toml"), &[start])
}

/// Criteria that failed, by their words.
fn failed(ran: &Ran) -> Vec<String> {
    let summary = ran.summary();
    let criteria = summary["verdict"]["criteria"].as_array().cloned().unwrap_or_default();
    assert!(!criteria.is_empty(), "{}", ran.said());
    criteria
        .iter()
        .filter(|criterion| criterion["ruling"] == "fail")
        .filter_map(|criterion| criterion["says"].as_str().map(str::to_owned))
        .collect()
}

fn assert_caught(defect: &str, by: &str) {
    let ran = run_with(defect);
    let failed = failed(&ran);
    assert_eq!(ran.code, Some(1), "{defect}: {}", ran.said());
    assert!(
        failed.iter().any(|says| says == by),
        "{defect} was to be caught by '{by}', but: {failed:?}\n{}",
        ran.said()
    );
}

#[test]
fn an_app_that_never_caches_is_caught_by_the_hit_rate() {
    assert_caught("never-caches", "The cache answers most reads");
}

#[test]
fn an_app_that_says_hit_but_asks_the_database_is_caught_by_the_databases_own_count() {
    assert_caught("false-hit", "The database is spared");
}

#[test]
fn an_app_that_answers_500_without_redis_is_caught_while_redis_is_dead() {
    assert_caught("500-without-redis", "Works on while Redis is dead");
}

#[test]
fn an_app_that_hangs_with_redis_is_caught_while_redis_is_frozen() {
    assert_caught("hangs-with-redis", "Works on while Redis is frozen");
}

#[test]
fn an_app_with_slow_hits_is_caught_by_p95() {
    assert_caught("slow-hits", "The cached path is fast");
}

#[test]
fn an_app_that_answers_with_another_item_is_caught_by_the_identity() {
    assert_caught("wrong-item", "Answers are right");
}

#[test]
fn the_healthy_app_passes_10_runs_of_10() {
    for run in 1..=10 {
        let ran = run_with("none");
        assert_eq!(ran.code, Some(0), "run {run}: {}", ran.said());
    }
}

#[test]
fn the_scenario_of_the_defects_breaks_what_they_need() {
    let loaded = cacheproof::scenario::load(&root().join("tests/scenarios/defects.toml"), &[]).expect("it is right");
    let faults: Vec<(FaultAction, Victim)> = loaded
        .scenario
        .phases
        .iter()
        .filter_map(|phase| phase.fault.as_ref())
        .map(|fault| (fault.action, fault.victim))
        .collect();
    assert_eq!(faults, [(FaultAction::Kill, Victim::Redis), (FaultAction::Pause, Victim::Redis)]);
}
