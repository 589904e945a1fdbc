//! The user's own command as a fault.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_fault_is_run_and_undone_and_its_failure_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("broken");
    let fault =
        format!("{{ run = 'touch {0}', undo = 'rm {0}', check = 'test -e {0}', lasts = '1s' }}", mark.display());
    let fails = format!(
        "{{ run = 'touch {0}; echo no such thing >&2; exit 7', undo = 'rm {0}', lasts = '1s' }}",
        mark.display()
    );
    let test_bed = FaultTestBed::up("[target]\nkind = 'http'\nstart = ['true']\n", &[&fault, &fails]).await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let steps = run_fault(&engine, &test_bed.faults()[0]).await.unwrap();
    let stages: Vec<FaultStage> = steps.iter().map(|step| step.stage).collect();
    use FaultStage::{Begun, Injected, Seen, SeenUndone, Undone};
    assert_eq!(stages, [Begun, Injected, Seen, Undone, SeenUndone], "{steps:#?}");
    assert!(!mark.exists());
    let error = run_fault(&engine, &test_bed.faults()[1]).await.unwrap_err().to_string();
    assert!(error.contains("ended with exit status: 7; its last line: no such thing"), "{error}");
    assert!(!mark.exists(), "a failed injection is undone");
    assert!(test_bed.ledger_state().open.is_empty());
    drop(engine);
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_succeeds_before_the_fault_or_never_shows_no_effect() {
    let fault = |check: &str| format!("{{ run = 'true', undo = 'true', check = '{check}', lasts = '200ms' }}");
    let test_bed =
        FaultTestBed::up("[target]\nkind = 'http'\nstart = ['true']\n", &[&fault("true"), &fault("false")]).await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    for spec in test_bed.faults() {
        let steps = run_fault(&engine, spec).await.unwrap();
        assert!(steps.iter().all(|step| step.stage != FaultStage::Seen), "{}: {steps:#?}", spec.describe());
    }
    drop(engine);
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_of_a_command_without_undo_may_last() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("broken");
    let fault = format!("{{ run = 'touch {0}', check = 'test -e {0}' }}", mark.display());
    let test_bed = FaultTestBed::up("[target]\nkind = 'http'\nstart = ['true']\n", &[&fault]).await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let steps = run_fault(&engine, &test_bed.faults()[0]).await.unwrap();
    let seen = |stage| steps.iter().any(|step| step.stage == stage);
    assert!(seen(FaultStage::Seen) && seen(FaultStage::SeenUndone), "its end was not waited for: {steps:#?}");
    assert!(mark.exists());
    drop(engine);
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_servers_urls_past_the_proxies_and_the_ledger_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let (during_run, during_undo) = (directory.path().join("run"), directory.path().join("undo"));
    let set = |samples: u32, file: &Path| {
        let (redis, file) = ("redis-cli -u $CACHEPROOF_REDIS_1_URL CONFIG", file.display());
        let ours = "env | grep ^CACHEPROOF_.*_URL=";
        format!("{ours} > {file}; {redis} SET maxmemory-samples {samples}; {redis} GET maxmemory-samples >> {file}")
    };
    let fault = format!("{{ run = '{}', undo = '{}', lasts = '100ms' }}", set(7, &during_run), set(5, &during_undo));
    let unknown = "{ run = 'true', undo = 'redis-cli -u $CACHEPROOF_REDIS_9_URL PING' }";
    let tables = "[target]\nkind = 'http'\nstart = ['true']\n[stack.redis]\nprovider = 'local'\ntopology = 'sentinel'\nacl = true\n\
        [stack.postgres]\nprovider = 'local'\n";
    let test_bed = FaultTestBed::up(tables, &[&fault, unknown]).await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let steps = run_fault(&engine, &test_bed.faults()[0]).await.unwrap();
    assert!(steps.iter().all(|step| step.stage != FaultStage::Seen), "no check saw an effect: {steps:#?}");
    // A fault with an invalid undo is not injected.
    let error = run_fault(&engine, &test_bed.faults()[1]).await.unwrap_err().to_string();
    assert!(error.contains("this run has no CACHEPROOF_REDIS_9_URL"), "{error}");
    drop(engine);
    let redis = test_bed.stack.redis.as_ref().unwrap();
    // In the form of redis-cli.
    let url = |name: &str| {
        let node = redis.nodes().iter().find(|node| node.name == name).unwrap();
        node.server.url().replace("://:", "://default:")
    };
    let expected = [
        ("CACHEPROOF_REDIS_URL", url("redis-1")),
        ("CACHEPROOF_REDIS_1_URL", url("redis-1")),
        ("CACHEPROOF_REDIS_2_URL", url("redis-2")),
        ("CACHEPROOF_SENTINEL_3_URL", url("sentinel-3")),
        ("CACHEPROOF_DATABASE_URL", test_bed.stack.postgres.as_ref().unwrap().first().url().to_owned()),
    ];
    for (file, samples) in [(during_run, "7"), (during_undo, "5")] {
        let environment = std::fs::read_to_string(&file).unwrap();
        for (name, url) in &expected {
            assert!(environment.lines().any(|line| line == format!("{name}={url}")), "{name} in {environment}");
        }
        assert_eq!(environment.lines().last(), Some(samples), "it reached the server: {environment}");
    }
    // The ledger contains no passwords.
    let ledger = std::fs::read_to_string(test_bed.ledger.path()).unwrap();
    assert!(ledger.contains("$CACHEPROOF_REDIS_1_URL") && !ledger.contains("://"), "{ledger}");
    test_bed.down().await;
}
