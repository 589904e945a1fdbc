//! Drives goose: users take arrivals from a queue (open loop) or send one request after another (closed loop), for as
//! long as the timeline lasts.
//!
//! In an open loop a response time starts at the intended start of the request, not at its send: no coordinated omission.
//!
//! One attack lasts the whole run. A phase changes what is sent and how it is labelled; connections and clocks continue
//! through a fault.

mod iteration;
mod stopping;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use goose::config::GooseConfiguration;
use goose::goose::{Transaction, TransactionFunction};
use goose::{GooseAttack, GooseError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::iteration::{closed_loop_iteration, open_loop_iteration};
use super::{ArrivalTimes, Exchange, FreshnessMonitor};
use crate::Recorder;
use crate::response::{UnreadCacheWords, UsedConnections, client_builder};
use cacheproof_core::journal::{AtQuiescence, NotSentReason};
use cacheproof_core::scenario::LoadModel;

/// How long the arrival clock may run without letting anything else run, where every arrival is due already: what ends
/// the run (Ctrl-C, a condition to abort) runs beside it.
const ARRIVALS_AT_ONCE: Duration = Duration::from_millis(1);

/// How many arrivals may wait for a free connection, at 40 bytes each. What comes beyond is recorded as unsent at once.
const QUEUE_LIMIT: usize = 2_000_000;

/// Why the load generator failed.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LoadError {
    /// goose returned an error.
    #[error("the load generator stopped: {0}")]
    #[diagnostic(help(
        "this is a defect of cacheproof or of its surroundings (open files? `cacheproof doctor` tells)"
    ))]
    Engine(String),
    /// goose still waited for answers when the user stopped the run.
    #[error("requests were still in flight when the run was stopped: they are not counted")]
    Interrupted,
}

/// The app did not become quiescent after a phase.
#[derive(Clone, Copy, Debug)]
pub struct NotQuiescent {
    /// Requests that wait to be sent or answered.
    pub waiting: u64,
    /// How long the wait for quiescence lasted.
    pub drain_timeout: Duration,
}

/// One request that is due.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    phase: usize,
    index: u64,
    intended: Instant,
}

#[derive(Debug)]
struct Shared {
    exchange: Exchange,
    recorder: Arc<Recorder>,
    queue: async_channel::Receiver<Arrival>,
    /// Closed loop: the phase to send for, or [`NO_PHASE`].
    phase: AtomicUsize,
    /// Closed loop: the next index of the phase.
    next: AtomicU64,
    in_flight: AtomicUsize,
    users_ready: AtomicUsize,
    /// Open loop: waiting arrivals are dropped and counted instead of sent.
    stopping: AtomicBool,
    unsent: AtomicU64,
    /// Whether arrivals that were never sent are recorded as errors.
    count_unsent: AtomicBool,
}

impl Shared {
    /// Before anything was sent.
    fn new(exchange: Exchange, recorder: Arc<Recorder>, queue: async_channel::Receiver<Arrival>) -> Self {
        Self {
            exchange,
            recorder,
            queue,
            phase: AtomicUsize::new(NO_PHASE),
            next: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            users_ready: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            unsent: AtomicU64::new(0),
            count_unsent: AtomicBool::new(false),
        }
    }

    /// An arrival that is dropped.
    fn record_unsent(&self, arrival: Arrival) {
        self.unsent.fetch_add(1, Ordering::SeqCst);
        if self.count_unsent.load(Ordering::SeqCst) {
            self.record_error(arrival);
        }
    }

    /// An arrival for which the queue has no place: an error, however the run ends.
    fn record_overflow(&self, arrival: Arrival) {
        self.unsent.fetch_add(1, Ordering::SeqCst);
        self.record_error(arrival);
    }

    fn record_error(&self, arrival: Arrival) {
        self.recorder.record_not_sent(arrival.phase, NotSentReason::NoConnection);
        self.recorder.record(0, self.exchange.unsent(arrival.phase, arrival.index, arrival.intended.elapsed()));
    }
}

const NO_PHASE: usize = usize::MAX;

/// The running load.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    arrivals: async_channel::Sender<Arrival>,
    attack: JoinHandle<Result<u64, GooseError>>,
    load_model: LoadModel,
    seed: u64,
    /// [`QUEUE_LIMIT`], less in tests.
    queue_limit: usize,
}

impl Driver {
    /// Starts goose and waits until all its users are running. Nothing is sent yet.
    pub async fn start(exchange: Exchange, base_url: &str, recorder: Arc<Recorder>) -> Result<Self, LoadError> {
        let load_model = exchange.scenario.traffic.load_model;
        let seed = exchange.scenario.seed;
        let timeout = exchange.scenario.traffic.timeout;
        let users = match load_model {
            LoadModel::Open { connections, .. } => connections,
            LoadModel::Closed { users } => users,
        };
        let (arrivals, queue) = async_channel::unbounded();
        let shared = Arc::new(Shared::new(exchange, recorder, queue));
        let attack = tokio::spawn(attack(Arc::clone(&shared), base_url.to_owned(), users, timeout, load_model));
        let mut driver = Self { shared, arrivals, attack, load_model, seed, queue_limit: QUEUE_LIMIT };
        while driver.shared.users_ready.load(Ordering::SeqCst) < users {
            if driver.attack.is_finished() {
                return Err(driver.why_ended().await);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        wait_for_punctual_timers().await;
        Ok(driver)
    }

    /// Drives one phase: from now until `lasts` is over and `may_end` is true (for example, a fault is undone), or
    /// until `end` is true.
    ///
    /// Boxed, so that the arrival clock is compiled in this crate, which the dev profile optimises, and not where it is
    /// awaited.
    pub fn phase(
        &self,
        phase: usize,
        lasts: Duration,
        may_end: watch::Receiver<bool>,
        end: watch::Receiver<bool>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.drive_phase(phase, lasts, may_end, end))
    }

    async fn drive_phase(
        &self,
        phase: usize,
        lasts: Duration,
        mut may_end: watch::Receiver<bool>,
        end: watch::Receiver<bool>,
    ) {
        let from = Instant::now();
        match self.load_model {
            LoadModel::Closed { .. } => {
                self.shared.next.store(0, Ordering::SeqCst);
                self.shared.phase.store(phase, Ordering::SeqCst);
                sleep_until_or_ended(from + lasts, end.clone()).await;
                let mut end = end;
                tokio::select! {
                    _ = may_end.wait_for(|may_end| *may_end) => {}
                    _ = end.wait_for(|end| *end) => {}
                }
            }
            LoadModel::Open { rate, arrivals, .. } => {
                let rate = self.shared.exchange.scenario.phases[phase].rate.unwrap_or(rate);
                let times = ArrivalTimes::new(arrivals, rate, self.seed, phase as u64);
                let mut others_ran = from;
                for (offset, index) in times.zip(0..) {
                    if offset >= lasts && *may_end.borrow() {
                        break;
                    }
                    let intended = from + offset;
                    let now = Instant::now();
                    if intended > now {
                        sleep_until_or_ended(intended, end.clone()).await;
                    } else if now - others_ran > ARRIVALS_AT_ONCE {
                        tokio::task::yield_now().await;
                        others_ran = Instant::now();
                    }
                    if *end.borrow() {
                        return;
                    }
                    let arrival = Arrival { phase, index, intended };
                    if self.arrivals.len() < self.queue_limit {
                        // The queue is open as long as this driver holds its receiver.
                        let _sent = self.arrivals.try_send(arrival);
                    } else {
                        self.shared.record_overflow(arrival);
                    }
                }
                sleep_until_or_ended(from + lasts, end).await;
            }
        }
    }

    /// Arrivals that are due and wait for a free connection.
    pub fn backlog(&self) -> u64 {
        self.shared.queue.len() as u64
    }

    /// Judges the responses; it outlives the load.
    pub fn freshness(&self) -> Arc<FreshnessMonitor> {
        Arc::clone(&self.shared.exchange.freshness)
    }

    /// Counts the cache headers that nobody understood; it outlives the load.
    pub fn unread(&self) -> Arc<UnreadCacheWords> {
        Arc::clone(&self.shared.exchange.unread)
    }

    /// Compares cached with uncached responses after a phase, where responses carry no version. Nothing is sent
    /// meanwhile. Empty: there is nothing to compare.
    ///
    /// # Errors
    /// [`NotQuiescent`]: requests of the phase were still in flight; what they write between two reads would count as
    /// stale.
    pub async fn compare_when_quiescent(&self, phase: usize) -> Result<Vec<AtQuiescence>, NotQuiescent> {
        let scenario = &self.shared.exchange.scenario;
        if !scenario.compares_after(phase) {
            return Ok(Vec::new());
        }
        self.shared.phase.store(NO_PHASE, Ordering::SeqCst);
        let drain_timeout = scenario.traffic.timeout + Duration::from_secs(1);
        let deadline = Instant::now() + drain_timeout;
        // Twice in a row: between taking an arrival and sending it, a user is not counted.
        let mut quiet = 0;
        while quiet < 2 {
            let waiting = self.backlog() + self.shared.in_flight.load(Ordering::SeqCst) as u64;
            quiet = if waiting == 0 { quiet + 1 } else { 0 };
            if waiting > 0 && Instant::now() >= deadline {
                return Err(NotQuiescent { waiting, drain_timeout });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(self.shared.exchange.freshness.compare_when_quiescent(phase).await)
    }

    /// The examples of errors since the last call.
    pub fn take_examples(&self) -> Vec<cacheproof_core::journal::Event> {
        self.shared.exchange.take_examples()
    }

    /// Whether goose ended unexpectedly.
    pub fn ended(&self) -> bool {
        self.attack.is_finished()
    }

    async fn why_ended(&mut self) -> LoadError {
        LoadError::Engine(match (&mut self.attack).await {
            Ok(Ok(_)) => "it ended before it began".into(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        })
    }
}

/// Waits until timers are on time: the creation of many HTTP clients keeps the runtime busy for a moment, which must
/// not count as response time. Waits at most two seconds; the send lag shows what remains.
async fn wait_for_punctual_timers() {
    const STEP: Duration = Duration::from_millis(2);
    let begun = Instant::now();
    let mut on_time = 0;
    while on_time < 50 && begun.elapsed() < Duration::from_secs(2) {
        let before = Instant::now();
        tokio::time::sleep(STEP).await;
        on_time = if before.elapsed() < 3 * STEP { on_time + 1 } else { 0 };
    }
}

async fn sleep_until_or_ended(deadline: Instant, mut end: watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep_until(deadline.into()) => {}
        _ = end.wait_for(|end| *end) => {}
    }
}

/// One goose attack over the whole timeline. Returns goose's own count of requests.
async fn attack(
    shared: Arc<Shared>,
    base_url: String,
    users: usize,
    timeout: Duration,
    load_model: LoadModel,
) -> Result<u64, GooseError> {
    // Field by field: the configuration has private fields that only its default can set.
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(format!("{base_url}/"));
    configuration.users = Some(users);
    configuration.increase_rate = Some(users.max(1000).to_string());
    configuration.timeout = Some(timeout.as_secs_f64().to_string());
    configuration.no_telnet = true;
    configuration.no_websocket = true;
    configuration.no_print_metrics = true;
    configuration.no_reset_metrics = true;
    configuration.no_transaction_metrics = true;
    configuration.no_scenario_metrics = true;
    configuration.no_error_summary = true;
    // No decompression: it would be the work of the harness, not of the app.
    configuration.no_gzip = true;
    configuration.quiet = 2;
    let ready = Arc::clone(&shared);
    let ready: TransactionFunction = Arc::new(move |user| {
        let ready = Arc::clone(&ready);
        Box::pin(async move {
            // goose's own client would go through HTTP_PROXY, and measure the proxy.
            let client = client_builder(timeout, ready.exchange.scenario.target.follow_redirects);
            user.set_client_builder(client).await?;
            user.set_session_data(UsedConnections::default());
            ready.users_ready.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    });
    let iteration: TransactionFunction = Arc::new(move |user| {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            match load_model {
                LoadModel::Open { .. } => open_loop_iteration(user, &shared).await,
                LoadModel::Closed { .. } => closed_loop_iteration(user, &shared).await,
            }
        })
    });
    let metrics = GooseAttack::initialize_with_config(configuration)?
        .register_scenario(
            goose::goose::Scenario::new("timeline")
                .register_transaction(Transaction::new(ready).set_on_start())
                .register_transaction(Transaction::new(iteration)),
        )
        .execute()
        .await?;
    let counted = metrics.requests.values().map(|request| request.success_count + request.fail_count).sum::<usize>();
    Ok(counted as u64)
}
