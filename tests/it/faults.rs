//! Each kind of fault, on real servers and without load: injected, confirmed by a probe, undone, recovery confirmed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cacheproof::fault::{FaultContext, FaultEngine, FaultError, FaultTransition, PhaseWindow};
use cacheproof::journal::FaultStage;
use cacheproof::scenario::{FaultSpec, Scenario, parse};
use cacheproof::stack::{ProcessFaultKind, Stack};
use cacheproof::supervise::{Guard, LEDGER_FILE, Ledger, RunIdentity, Undo, read_ledger};
use cacheproof::target::{App, AppEnvironment};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::CACHEPROOF;

mod commands;
mod engine;

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
    ledger: Arc<Ledger>,
}

impl FaultTestBed {
    async fn up(tables: &str, faults: &[&str]) -> Self {
        let scenario = scenario(tables, faults);
        let reports = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::create(reports.path(), &RunIdentity::new()).unwrap());
        let guard = Guard::start_with_ledger(Path::new(CACHEPROOF), &ledger).unwrap();
        let report_progress = |line: &str| eprintln!("{line}");
        let stack = Stack::up(&scenario.stack, scenario.seed, &guard, &report_progress).await.unwrap();
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
        let answer = cacheproof::load::response::client(Duration::from_secs(5), false)
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
