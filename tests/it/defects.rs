//! Fails if a planted defect is not caught by its rule, or if the healthy app fails. The table is that of `just defects`.

use std::collections::BTreeSet;
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
    ($all:ident: $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                assert_caught(&stringify!($test).trim_start_matches("by_its_rule_").replace('_', "-"));
            }
        )*

        pub(super) const $all: &[&str] = &[$(stringify!($test)),*];
    };
}

/// One test for each scenario that a healthy app must pass.
macro_rules! healthy {
    ($all:ident: $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                let scenario = stringify!($test).trim_start_matches("the_healthy_app_passes_").replace('_', "-");
                let defect_run = run(&HEALTHY[0], &scenario);
                assert_eq!(defect_run.code, Some(0), "{scenario}: {:?}\n{}", defect_run.failed, defect_run.printed);
            }
        )*

        pub(super) const $all: &[&str] = &[$(stringify!($test)),*];
    };
}

// One of each theme.
caught! { ONE_OF_EACH_THEME:
    false_hit
    wrong_item
    no_invalidation
    another_users_answer
    other_instance_not_told
    by_its_rule_500_without_redis
    hits_need_postgres
    leaks_memory
}

healthy! { ONE_SCENARIO:
    the_healthy_app_passes_defects
}

#[test]
fn each_defect_of_the_table_and_each_scenario_has_its_test() {
    let names = |lists: [&[&str]; 2], prefix: &str| {
        let name = |test: &&str| test.trim_start_matches(prefix).replace('_', "-");
        lists.concat().iter().map(name).collect::<BTreeSet<_>>()
    };
    let table = defects().map(|defect| defect.name.to_owned()).collect();
    assert_eq!(names([ONE_OF_EACH_THEME, slow::OTHERS], "by_its_rule_"), table);
    let scenarios = SCENARIOS.map(str::to_owned).into();
    assert_eq!(names([ONE_SCENARIO, slow::OTHER_SCENARIOS], "the_healthy_app_passes_"), scenarios);
}

/// The rest of the table: each is a run of a quarter of a minute.
mod slow {
    use super::*;

    caught! { OTHERS:
        never_caches
        slow_hits
        ttl_in_ms
        stores_nothing_large
        orphaned_lock
        key_cut_short
        key_never_shared
        key_of_a_view
        invalidates_before_commit
        fill_after_invalidate
        refresh_overwrites_newer
        invalidates_everything
        by_its_rule_404_outlives_create
        write_behind_drops
        torn_value
        session_after_logout
        list_after_delete
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
        stampede
        leaks_redis_connections
        leaks_postgres_connections
    }

    healthy! { OTHER_SCENARIOS:
        the_healthy_app_passes_defects_freshness
        the_healthy_app_passes_defects_people
        the_healthy_app_passes_defects_instances
        the_healthy_app_passes_defects_dead
        the_healthy_app_passes_defects_frozen
        the_healthy_app_passes_defects_database
        the_healthy_app_passes_defects_soak
    }
}
