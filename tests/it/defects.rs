//! Fails if a planted defect is not caught by its rule, or if the healthy app fails. The table is that of `just defects`.

use std::path::Path;

use defective_app::defect_run::{DefectRun, DefectRunner};
use defective_app::{Defect, HEALTHY, SCENARIOS, defects, find};

use crate::support::{CACHEPROOF, root};

fn run(defect: &Defect, scenario: &str) -> DefectRun {
    let programs = Path::new(CACHEPROOF).parent().expect("it is in a directory");
    let runner = DefectRunner::find(programs, root()).expect("the workspace's programs");
    runner.run(defect, scenario).expect("a run with a summary")
}

fn assert_caught(name: &str) {
    let defect = find(name).expect("it is in the table");
    let defect_run = run(defect, defect.scenario);
    assert!(
        defect_run.caught(defect).is_some(),
        "'{}' should fail, but: {:?}\n{}",
        defect.caught_by,
        defect_run.failed,
        defect_run.printed
    );
}

/// One test for each defect.
macro_rules! caught {
    ($($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                assert_caught(&stringify!($test).trim_start_matches("by_its_rule_").replace('_', "-"));
            }
        )*

        #[test]
        fn each_defect_of_the_table_has_its_test() {
            let tests = [$(stringify!($test).trim_start_matches("by_its_rule_").replace('_', "-")),*];
            assert_eq!(defects().map(|defect| defect.name).collect::<Vec<_>>(), tests);
        }
    };
}

// All rows, in the order of the table. The prefix is for names that begin with a digit.
caught! {
    never_caches
    false_hit
    slow_hits
    ttl_in_ms
    stores_nothing_large
    orphaned_lock
    wrong_item
    key_cut_short
    key_never_shared
    key_of_a_view
    no_invalidation
    invalidates_before_commit
    fill_after_invalidate
    refresh_overwrites_newer
    invalidates_everything
    by_its_rule_404_outlives_create
    write_behind_drops
    torn_value
    another_users_answer
    session_after_logout
    list_after_delete
    other_instance_not_told
    by_its_rule_500_without_redis
    crashes_with_redis
    slow_fallback
    serial_fallback
    retry_storm
    reconnect_gives_up
    scripts_sent_once
    health_needs_redis
    log_flood
    hangs_with_redis
    breaker_never_opens
    breaker_never_closes
    invalidations_lost
    no_ttl
    writes_need_redis
    caches_errors
    hits_need_postgres
    stampede
    leaks_memory
    leaks_redis_connections
    leaks_postgres_connections
}

#[test]
fn the_healthy_app_passes_every_scenario() {
    for scenario in SCENARIOS {
        let defect_run = run(&HEALTHY[0], scenario);
        assert_eq!(defect_run.code, Some(0), "{scenario}: {:?}\n{}", defect_run.failed, defect_run.printed);
    }
}
