//! What holds for every fault: undo before injection, no overlap, at most `max_fault`, only what the scenario allows.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_is_on_disk_before_the_fault_is_injected() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    let bench_directory = tempfile::tempdir().unwrap();
    let ledger_path = bench_directory.path().join(LEDGER_FILE);
    let run = format!("{{ run = 'cp {} {}', undo = 'true', lasts = '500ms' }}", ledger_path.display(), copy.display());
    let scenario = scenario("[target]\nkind = 'http'\nstart = ['true']\n", &[&run]);
    let ledger = Arc::new(Ledger::create(bench_directory.path(), &RunIdentity::new()).unwrap());
    let guard = Guard::start_with_ledger(Path::new(CACHEPROOF), &ledger).unwrap();
    let stack = Stack::up(&scenario.stack, scenario.seed, &guard, &|_| {}).await.unwrap();
    let engine = FaultEngine::new(FaultContext {
        scenario: &scenario,
        stack: &stack,
        app: None,
        guard: &guard,
        ledger: &ledger,
    });
    run_fault(&engine, &scenario.phases[0].faults[0]).await.unwrap();
    // The command copied the ledger.
    let then = read_ledger(&copy).unwrap();
    assert_eq!(then.open.len(), 1, "{then:?}");
    assert!(matches!(&then.open[0].undo, Undo::Command { run, .. } if run == "true"), "{then:?}");
    assert!(read_ledger(&ledger_path).unwrap().open.is_empty());
    drop(engine);
    stack.down().await.unwrap();
    guard.release().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_fault_never_overlaps_itself_and_is_undone_each_time() {
    let test_bed =
        FaultTestBed::up(REDIS, &["{ pause = 'redis', after = '200ms', lasts = '400ms', every = '900ms' }"]).await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let steps = Mutex::new(Vec::new());
    let (_never, end) = watch::channel(false);
    let window = PhaseWindow { from: Instant::now(), lasts: Duration::from_secs(4) };
    engine
        .run_fault(&test_bed.faults()[0], window, end, &|| true, &|step| steps.lock().unwrap().push(step))
        .await
        .unwrap();
    let steps = steps.into_inner().unwrap();
    let rounds = steps.iter().filter(|step| step.stage == FaultStage::Injected).count();
    assert!((2..=5).contains(&rounds), "{steps:#?}");
    let mut injected = false;
    for step in &steps {
        match step.stage {
            FaultStage::Injected => assert!(!std::mem::replace(&mut injected, true), "overlaps: {steps:#?}"),
            FaultStage::Undone => assert!(std::mem::replace(&mut injected, false), "{steps:#?}"),
            _ => {}
        }
    }
    assert!(!injected);
    drop(engine);
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_faults_on_one_victim_are_undone_correctly() {
    let test_bed = FaultTestBed::up(
        REDIS,
        &[
            // Ends long after the others, even if Redis starts slowly.
            "{ pause = 'redis', lasts = '15s' }",
            "{ kill = 'redis', after = '500ms', lasts = '1s' }",
            "{ black_hole = 'redis', after = '500ms', lasts = '3s' }",
        ],
    )
    .await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let [pause, kill, hole] = test_bed.faults() else { panic!("three faults") };
    let (pause, kill, hole) =
        tokio::join!(run_fault(&engine, pause), run_fault(&engine, kill), run_fault(&engine, hole));
    let kill = kill.unwrap();
    let undone = kill.iter().find(|step| step.stage == FaultStage::Undone).unwrap();
    assert!(undone.detail.contains("for another fault"), "it is paused again: {kill:#?}");
    assert_eq!(pause.unwrap().last().unwrap().stage, FaultStage::SeenUndone);
    hole.unwrap();
    assert!(test_bed.stack.redis.as_ref().unwrap().first().answers().await);
    drop(engine);
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_lasts_at_most_max_fault_and_is_not_injected_if_the_gate_is_closed() {
    let mut test_bed = FaultTestBed::up(REDIS, &["{ pause = 'redis' }"]).await;
    test_bed.scenario.safety.max_fault = Duration::from_secs(1);
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let start = Instant::now();
    let steps = run_fault(&engine, &test_bed.faults()[0]).await.unwrap();
    // The phase lasts a minute.
    assert!(start.elapsed() < Duration::from_secs(30), "{steps:#?}");
    assert_eq!(steps.last().unwrap().stage, FaultStage::SeenUndone);

    let (_never, end) = watch::channel(false);
    let window = PhaseWindow { from: Instant::now(), lasts: Duration::from_secs(60) };
    engine.run_fault(&test_bed.faults()[0], window, end, &|| false, &|step| panic!("{step:?}")).await.unwrap();
    drop(engine);
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_without_an_answer_does_not_prolong_a_fault() {
    let test_bed = FaultTestBed::up(
        REDIS,
        &["{ latency = 'redis', delay = '20s', lasts = '1s' }", "{ black_hole = 'redis', lasts = '10s' }"],
    )
    .await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let [slow, hole] = test_bed.faults() else { panic!("two faults") };
    let start = Instant::now();
    let (slow, hole) = tokio::join!(run_fault(&engine, slow), run_fault(&engine, hole));
    assert!(start.elapsed() < Duration::from_secs(30), "one answer takes 40 s");
    let stages: Vec<_> = slow.unwrap().iter().map(|step| step.stage).collect();
    assert!(!stages.contains(&FaultStage::Seen), "{stages:?}");
    assert_eq!(hole.unwrap().last().unwrap().stage, FaultStage::SeenUndone);
    drop(engine);
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_injection_is_undone_and_its_processes_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    // If only the shell were killed, the loop would continue.
    let loops = format!("(while :; do date >> {at}/broken; sleep 0.05; done) & sleep 300");
    let fault = format!("{{ run = '{loops}', undo = 'mv {at}/broken {at}/undone', lasts = '1s' }}");
    let mut test_bed = FaultTestBed::up("[target]\nkind = 'http'\nstart = ['true']\n", &[&fault]).await;
    let (stop, end) = watch::channel(false);
    let broken = directory.path().join("broken");
    for limit in [Duration::from_secs(300), Duration::from_secs(1)] {
        test_bed.scenario.safety.max_fault = limit;
        let engine = FaultEngine::new(test_bed.fault_context(None));
        let window = PhaseWindow { from: Instant::now(), lasts: Duration::from_secs(600) };
        let running = engine.run_fault(&test_bed.faults()[0], window, end.clone(), &|| true, &|_| {});
        let stopping = async {
            if limit > Duration::from_secs(60) {
                while !broken.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                stop.send_replace(true);
            }
        };
        let (result, ()) = tokio::join!(running, stopping);
        stop.send_replace(false);
        match result {
            Ok(()) => assert!(limit > Duration::from_secs(60)),
            Err(error) => assert!(error.to_string().contains("did not end within 1 s"), "{error}"),
        }
        assert!(directory.path().join("undone").exists(), "it is undone");
        assert!(test_bed.ledger_state().open.is_empty());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!broken.exists(), "the loop has ended");
        std::fs::remove_file(directory.path().join("undone")).unwrap();
    }
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_server_is_broken_only_if_the_scenario_allows_it() {
    let owner = FaultTestBed::up(REDIS, &["{ flush = 'redis' }"]).await;
    let url = owner.stack.redis.as_ref().unwrap().first().url().to_owned();
    let external = |allow: &str| {
        format!("[target]\nkind = 'http'\nstart = ['true']\n[stack.redis]\nurl = '{url}'\n[safety]\n{allow}\n")
    };
    let faults =
        ["{ flush = 'redis' }", "{ fill_memory = 'redis', lasts = '1s' }", "{ fill_clients = 'redis', lasts = '1s' }"];
    let mut test_bed = FaultTestBed::up(&external("allow = ['redis']"), &faults).await;
    let mut connection = redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SET").arg("kept").arg("yes").query_async::<()>(&mut connection).await.unwrap();

    // The parser would reject this scenario.
    let allowed = std::mem::take(&mut test_bed.scenario.safety.allow);
    let engine = FaultEngine::new(test_bed.fault_context(None));
    for spec in test_bed.faults() {
        let error = run_fault(&engine, spec).await.unwrap_err();
        assert!(matches!(error, FaultError::NotAllowed { .. }), "{error}");
    }
    for word in ["kill", "stop", "pause"] {
        let mut spec = owner.faults()[0].clone();
        spec.action = scenario(REDIS, &[&format!("{{ {word} = 'redis' }}")]).phases[0].faults[0].action.clone();
        spec.lasts = Some(Duration::from_millis(100));
        let error = run_fault(&engine, &spec).await.unwrap_err().to_string();
        assert!(error.contains("external"), "{error}");
    }
    drop(engine);
    let kept: String = redis::cmd("GET").arg("kept").query_async(&mut connection).await.unwrap();
    assert_eq!(kept, "yes");
    assert!(test_bed.ledger_state().open.is_empty());

    test_bed.scenario.safety.allow = allowed;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let steps = run_fault(&engine, &test_bed.faults()[0]).await.unwrap();
    assert_eq!(steps.len(), 5, "{steps:#?}");
    drop(engine);
    test_bed.down().await;
    owner.down().await;
}
