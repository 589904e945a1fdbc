//! Each kind of fault, on real servers and without load: injected, confirmed by a probe, undone, recovery confirmed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use cacheproof::fault::{FaultContext, FaultEngine, FaultError, FaultTransition, PhaseWindow};
use cacheproof::journal::FaultStage;
use cacheproof::scenario::{FaultSpec, Scenario, parse};
use cacheproof::stack::{ProcessFaultKind, Stack};
use cacheproof::supervise::{Guard, LEDGER_FILE, Ledger, Undo, read_ledger};
use cacheproof::target::{App, AppEnvironment};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::CACHEPROOF;

/// A scenario with these tables, and these faults in its last phase.
fn scenario(tables: &str, faults: &[&str]) -> Scenario {
    let text = format!(
        "title = 't'\n{tables}\n[traffic]\nusers = 2\n[[traffic.request]]\nname = 'r'\nget = '/posts/{{post}}'\n[data]\nposts = 20\n\
         [[phase]]\nname = 'p'\nlasts = '60s'\nfaults = [{}]\n",
        faults.join(", ")
    );
    parse("t", &text).unwrap_or_else(|errors| panic!("{text}\n{:?}", errors.problems()))
}

const REDIS: &str = "[target]\nkind = 'http'\nstart = ['true']\n\
    [stack.redis]\nprovider = 'local'\nmaxmemory = '16mb'\npolicy = 'allkeys-lru'\nappendonly = true\n";
const POSTGRES: &str = "[target]\nkind = 'http'\nstart = ['true']\n[stack.postgres]\nprovider = 'local'\n";

/// Servers for faults, with the guard and the ledger.
struct FaultTestBed {
    guard: Guard,
    stack: Stack,
    scenario: Scenario,
    reports: TempDir,
    ledger: Ledger,
}

impl FaultTestBed {
    async fn up(tables: &str, faults: &[&str]) -> Self {
        let scenario = scenario(tables, faults);
        let guard = Guard::start(Path::new(CACHEPROOF)).unwrap();
        let report_progress = |line: &str| eprintln!("{line}");
        let stack = Stack::up(&scenario.stack, scenario.seed, &guard, &report_progress).await.unwrap();
        let reports = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(reports.path(), &guard).unwrap();
        guard.watch_ledger(ledger.path());
        Self { guard, stack, scenario, reports, ledger }
    }

    fn fault_context<'run>(&'run self, app: Option<(&'run App, &'run AppEnvironment<'run>)>) -> FaultContext<'run> {
        FaultContext { scenario: &self.scenario, stack: &self.stack, app, guard: &self.guard, ledger: &self.ledger }
    }

    fn faults(&self) -> &[FaultSpec] {
        &self.scenario.phases[0].faults
    }

    fn ledger_state(&self) -> cacheproof::supervise::LedgerState {
        read_ledger(&self.reports.path().join(LEDGER_FILE)).unwrap()
    }

    /// Runs every fault of the scenario, one after another; each must go through all stages.
    async fn run_each_fault(&self, app: Option<(&App, &AppEnvironment<'_>)>) {
        let engine = FaultEngine::new(self.fault_context(app));
        for spec in self.faults() {
            let steps = run_fault(&engine, spec).await.unwrap_or_else(|error| panic!("{}: {error}", spec.describe()));
            let stages: Vec<FaultStage> = steps.iter().map(|step| step.stage).collect();
            let all =
                [FaultStage::Begun, FaultStage::Injected, FaultStage::Seen, FaultStage::Undone, FaultStage::SeenUndone];
            assert_eq!(stages, all, "{}: {steps:#?}", spec.describe());
            assert!(self.ledger_state().open.is_empty(), "{} is not closed in the ledger", spec.describe());
        }
    }

    async fn down(self) {
        self.stack.down().await.unwrap();
        self.guard.release().unwrap();
        assert!(read_ledger(&self.reports.path().join(LEDGER_FILE)).unwrap().over, "the guard closes the ledger");
    }
}

/// Runs one fault, from the start of its phase to the end.
async fn run_fault(engine: &FaultEngine<'_>, spec: &FaultSpec) -> Result<Vec<FaultTransition>, FaultError> {
    let steps = Mutex::new(Vec::new());
    let (_never, end) = watch::channel(false);
    let window = PhaseWindow { from: Instant::now(), lasts: Duration::from_secs(60) };
    engine.run_fault(spec, window, end, &|| true, &|step| steps.lock().unwrap().push(step)).await?;
    Ok(steps.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_on_redis_work_and_are_undone() {
    let test_bed = FaultTestBed::up(
        REDIS,
        &[
            "{ kill = 'redis', lasts = '1s' }",
            "{ stop = 'redis', lasts = '1s' }",
            "{ pause = 'redis', lasts = '1s' }",
            "{ restart = 'redis' }",
            "{ flush = 'redis' }",
            "{ fill_memory = 'redis', lasts = '1s' }",
            "{ fill_clients = 'redis', lasts = '1s' }",
            "{ restart = 'redis', data = 'lose' }",
        ],
    )
    .await;
    test_bed.run_each_fault(None).await;
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_on_postgres_work_and_are_undone() {
    let test_bed = FaultTestBed::up(
        POSTGRES,
        &[
            "{ kill = 'postgres', lasts = '1s' }",
            "{ stop = 'postgres', lasts = '1s' }",
            "{ pause = 'postgres', lasts = '1s' }",
            "{ restart = 'postgres' }",
            "{ fill_clients = 'postgres', lasts = '1s' }",
        ],
    )
    .await;
    test_bed.run_each_fault(None).await;
    test_bed.down().await;
}

/// Every link fault on one server.
fn links(server: &str) -> Vec<String> {
    [
        "latency = 'S', delay = '60ms', jitter = '10ms'",
        "latency = 'S', delay = '80ms', direction = 'to_client'",
        "bandwidth = 'S', rate = '20kb'",
        "refuse = 'S'",
        "reset = 'S'",
        "reset = 'S', connections = 'new'",
        "black_hole = 'S'",
        "black_hole = 'S', connections = 'live', share = '50%'",
        "black_hole = 'S', direction = 'to_server'",
        "slice = 'S', size = '4b', gap = '20ms'",
        "half_open = 'S'",
    ]
    .map(|fault| format!("{{ {}, lasts = '2s' }}", fault.replace('S', server)))
    .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_on_connections_to_redis_work_and_are_undone() {
    let faults = links("redis");
    let test_bed = FaultTestBed::up(REDIS, &faults.iter().map(String::as_str).collect::<Vec<_>>()).await;
    test_bed.run_each_fault(None).await;
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_on_the_app_work_and_a_partition_affects_only_one_instance() {
    let tables = "[target]\nkind = 'reference'\ninstances = 2\n[stack.redis]\nprovider = 'local'\n\
                  [stack.postgres]\nprovider = 'local'\n";
    let test_bed = FaultTestBed::up(
        tables,
        &[
            "{ partition = 'app 2', lasts = '5s' }",
            "{ kill = 'app 2', lasts = '1s' }",
            "{ pause = 'app', lasts = '1s' }",
            "{ restart = 'app 1' }",
        ],
    )
    .await;
    let watch = |pid| test_bed.guard.watch_process(pid);
    let (redis, postgres) = (test_bed.stack.redis.as_ref().unwrap(), test_bed.stack.postgres.as_ref().unwrap());
    let app_environment = AppEnvironment {
        cacheproof: Path::new(CACHEPROOF),
        directory: test_bed.guard.directory(),
        redis_url: Some(redis.app_url()),
        redis_ca: None,
        database_url: Some(postgres.app_url()),
        token: test_bed.guard.token(),
        watch: &watch,
    };
    let app = App::up(&test_bed.scenario, &app_environment).await.unwrap();
    // Both have open connections to Redis.
    for url in app.urls() {
        let answer = cacheproof::load::response::client(Duration::from_secs(5))
            .get(format!("{url}/posts/1"))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
    }
    let engine = FaultEngine::new(test_bed.fault_context(Some((&app, &app_environment))));
    let open = redis.nodes()[0].proxy.as_ref().unwrap().stats().open;
    let steps = run_fault(&engine, &test_bed.faults()[0]).await.unwrap();
    let affected = steps[1].connections.unwrap();
    assert!(affected > 0 && affected < open, "{affected} of {open} connections are app 2's: {steps:#?}");
    assert_eq!(steps.len(), 5, "{steps:#?}");
    test_bed.run_each_fault(Some((&app, &app_environment))).await;
    let before = app.pids();
    let done = app.instances(Some(1))[0].undo_fault(ProcessFaultKind::Stop, &app_environment).await.unwrap();
    assert!(done.contains("is already running"), "{done}");
    assert_eq!(app.pids(), before, "a running app is not started a second time");
    app.down().await;
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_fail_over_even_to_a_lagging_replica() {
    let tables = "[target]\nkind = 'http'\nstart = ['true']\n[stack.redis]\nprovider = 'local'\ntopology = 'sentinel'\nreplicas = 1\n";
    let test_bed = FaultTestBed::up(
        tables,
        &[
            "{ failover = 'redis' }",
            "{ stop = 'redis replica', lasts = '1s' }",
            "{ pause = 'sentinels', lasts = '1s' }",
            "{ failover = 'redis', to = 'lagging' }",
        ],
    )
    .await;
    test_bed.run_each_fault(None).await;
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_on_a_cluster_master_work_and_are_undone() {
    let tables = "[target]\nkind = 'http'\nstart = ['true']\n\
                  [stack.redis]\nprovider = 'local'\ntopology = 'cluster'\nmaxmemory = '16mb'\npolicy = 'allkeys-lru'\n";
    let test_bed = FaultTestBed::up(
        tables,
        &[
            "{ fill_memory = 'redis', lasts = '1s' }",
            "{ flush = 'redis' }",
            "{ pause = 'redis', lasts = '500ms' }",
            "{ latency = 'redis', delay = '60ms', lasts = '1s' }",
            "{ kill = 'redis', lasts = '6s' }",
        ],
    )
    .await;
    test_bed.run_each_fault(None).await;
    test_bed.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_fault_is_run_and_undone_and_its_failure_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("broken");
    let fault = format!("{{ run = 'touch {0}', undo = 'rm {0}', lasts = '1s' }}", mark.display());
    let fails = format!(
        "{{ run = 'touch {0}; echo no such thing >&2; exit 7', undo = 'rm {0}', lasts = '1s' }}",
        mark.display()
    );
    let test_bed = FaultTestBed::up("[target]\nkind = 'http'\nstart = ['true']\n", &[&fault, &fails]).await;
    let engine = FaultEngine::new(test_bed.fault_context(None));
    let steps = run_fault(&engine, &test_bed.faults()[0]).await.unwrap();
    assert_eq!(steps.len(), 5, "{steps:#?}");
    assert!(!mark.exists());
    let error = run_fault(&engine, &test_bed.faults()[1]).await.unwrap_err().to_string();
    assert!(error.contains("ended with exit status: 7; its last line: no such thing"), "{error}");
    assert!(!mark.exists(), "a failed injection is undone");
    assert!(test_bed.ledger_state().open.is_empty());
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
    assert_eq!(run_fault(&engine, &test_bed.faults()[0]).await.unwrap().len(), 5);
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

#[tokio::test(flavor = "multi_thread")]
async fn the_undo_is_on_disk_before_the_fault_is_injected() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    let bench_directory = tempfile::tempdir().unwrap();
    let ledger_path = bench_directory.path().join(LEDGER_FILE);
    let run = format!("{{ run = 'cp {} {}', undo = 'true', lasts = '500ms' }}", ledger_path.display(), copy.display());
    let scenario = scenario("[target]\nkind = 'http'\nstart = ['true']\n", &[&run]);
    let guard = Guard::start(Path::new(CACHEPROOF)).unwrap();
    let stack = Stack::up(&scenario.stack, scenario.seed, &guard, &|_| {}).await.unwrap();
    let ledger = Ledger::create(bench_directory.path(), &guard).unwrap();
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

/// The link faults on the other servers: half a minute each.
mod slow {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn faults_on_connections_to_postgres_work_and_are_undone() {
        let faults = links("postgres");
        let test_bed = FaultTestBed::up(POSTGRES, &faults.iter().map(String::as_str).collect::<Vec<_>>()).await;
        test_bed.run_each_fault(None).await;
        test_bed.down().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn faults_on_tls_connections_to_redis_are_confirmed_and_undone() {
        let tables = "[target]\nkind = 'http'\nstart = ['true']\n[stack.redis]\nprovider = 'local'\ntls = true\n";
        let faults = links("redis");
        let test_bed = FaultTestBed::up(tables, &faults.iter().map(String::as_str).collect::<Vec<_>>()).await;
        test_bed.run_each_fault(None).await;
        test_bed.down().await;
    }
}
