//! The servers behind the store, and the one way to reach them: a [`Command`] knows its key, the key knows its server.
//!
//! One [`Server`] for each that takes writes: the only one, the master of the moment that sentinels name, or the masters of a
//! cluster. Each has its own connections and its own breaker, so that a lost master of a cluster costs its own keys only.

mod cluster;
mod dial;
mod place;
mod sentinel;
mod server;
mod slot;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub(super) use dial::{Line, silence};
pub(super) use place::Place;
pub(super) use server::Server;
#[cfg(test)]
pub(super) use slot::name_in as own_name_in;
pub(super) use url::Deployment;
pub use url::{Address, Topology};

use super::RedisConfig;
use super::config::{Credentials, SentinelTls};
use super::pool::Pool;
use crate::breaker::{Breaker, BreakerState, Instruments};
use crate::config::ConfigError;
use crate::metrics::{Lookups, Metrics};
use crate::store::CacheError;
use cluster::{Cluster, Redirect};
use dial::Dialer;
use futures_util::future::join_all;
use prometheus_client::metrics::gauge::Gauge;
use redis::{Cmd, FromRedisValue, Value};
use sentinel::Sentinels;
use server::{Batch, understood};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

/// Whether a call asks the breaker, as requests do, or is itself the attempt to get well.
#[derive(Clone, Copy, Debug)]
pub(super) enum Via {
    Breaker,
    /// As `Breaker`, and only where the answer may be relied on ([`crate::Coherence::Outbox`]).
    Trusted,
    Direct,
}

/// One command on one key (or on keys of one slot), atomic by itself.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Says which server it goes to.
    pub(super) key: String,
    pub(super) command: Cmd,
    /// Of a script: the same with the whole source, for a server that does not know it yet.
    pub(super) with_source: Option<Cmd>,
    pub(super) order: Order,
}

/// Whether a command has to be carried out behind the scripts before it, where they go to the same server: when such a script has to
/// be sent again, so has this. Harmless when carried out twice.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Any,
    Behind,
    /// Looks something up, which is counted each time.
    LooksBehind(Lookups),
}

impl Command {
    pub(super) fn new(key: impl Into<String>, command: Cmd) -> Self {
        Self { key: key.into(), command, with_source: None, order: Order::Any }
    }

    pub(super) fn ordered(self, order: Order) -> Self {
        Self { order, ..self }
    }
}

/// All servers of one deployment.
pub(super) struct Servers {
    reach: Reach,
    /// Stands for the server of keys that no server holds.
    nowhere: Arc<Server>,
    came_up: watch::Sender<u64>,
    command_timeout: Duration,
    closed: AtomicBool,
}

enum Reach {
    One(Arc<Server>),
    Cluster(Arc<Cluster>),
}

impl Servers {
    /// Starts connecting in the background. Dropping the `JoinSet` ends that, in so far as dropping `Servers` does not.
    pub(super) fn start(config: &RedisConfig, metrics: &Metrics) -> Result<(Self, JoinSet<()>), ConfigError> {
        let deployment = Deployment::parse(&config.url)?;
        let credentials = either(&config.credentials, &deployment.credentials);
        let tls = deployment.tls.then_some(&config.tls);
        let patience = config.connect_timeout;
        let dialer = Dialer::new(&credentials, deployment.database, tls, patience, config.in_flight_at_most)?;
        let nowhere = Arc::new(Server::nowhere(dialer.clone(), config, metrics));
        let (came_up, _) = watch::channel(0);
        let mut background = JoinSet::new();
        let one = |place: Place, at: Option<Address>, instruments: Instruments| {
            let pool = Pool::start(place, config, metrics, came_up.clone());
            Server::new(pool, at, Breaker::new(config.breaker(), instruments, Instant::now()), config.command_timeout)
        };
        let reach = match deployment.topology {
            Topology::Standalone(address) => {
                Reach::One(Arc::new(one(Place::Fixed(address, dialer), None, metrics.breaker_state())))
            }
            Topology::Sentinel { master, sentinels } => {
                let tls = match &config.sentinel_tls {
                    SentinelTls::LikeServers => tls,
                    SentinelTls::Plain => None,
                    SentinelTls::Own(tls) => Some(tls),
                };
                let to_sentinels = Dialer::new(&config.sentinel_credentials, 0, tls, patience, 16)?;
                let sentinels = Arc::new(Sentinels::new(master, sentinels, to_sentinels));
                let server = one(Place::Watched(Arc::clone(&sentinels), dialer), None, metrics.breaker_state());
                for sentinel in sentinels.addresses() {
                    background.spawn(Arc::clone(&sentinels).listen(sentinel, Arc::clone(&server.pool)));
                }
                Reach::One(Arc::new(server))
            }
            Topology::Cluster { seeds } => {
                let namespace = config.namespace.clone();
                let (config, metrics, to_nodes, came_up) =
                    (config.clone(), metrics.clone(), dialer.clone(), came_up.clone());
                let maker = Box::new(move |address: &Address| {
                    let place = Place::Fixed(address.clone(), to_nodes.clone());
                    let pool = Pool::start(place, &config, &metrics, came_up.clone());
                    // The metric shows the worst of all breakers: `Metrics::status` sets it.
                    let shown = Instruments { state: Gauge::default(), ..metrics.breaker_state() };
                    let breaker = Breaker::new(config.breaker(), shown, Instant::now());
                    Server::new(pool, Some(address.clone()), breaker, config.command_timeout)
                });
                let cluster = Arc::new(Cluster::new(seeds, dialer, maker, namespace));
                background.spawn(Arc::clone(&cluster).watch());
                Reach::Cluster(cluster)
            }
        };
        let closed = AtomicBool::new(false);
        Ok((Self { reach, nowhere, came_up, command_timeout: config.command_timeout, closed }, background))
    }

    /// The server that holds a key at this moment. When none does, one that refuses every call at once.
    pub(super) fn of(&self, key: &str) -> Arc<Server> {
        match &self.reach {
            Reach::One(server) => Arc::clone(server),
            Reach::Cluster(cluster) => {
                let map = cluster.map();
                Arc::clone(map.index(key).map_or(&self.nowhere, |index| &map.servers[index]))
            }
        }
    }

    /// Every server that holds some of the keys: every master.
    pub(super) fn all(&self) -> Vec<Arc<Server>> {
        match &self.reach {
            Reach::One(server) => vec![Arc::clone(server)],
            Reach::Cluster(cluster) => cluster.map().servers.clone(),
        }
    }

    /// Rises each time a connection comes up.
    pub(super) fn came_up(&self) -> watch::Receiver<u64> {
        self.came_up.subscribe()
    }

    /// Connections that are up.
    pub(super) fn connections(&self) -> usize {
        self.all().iter().map(|server| server.pool.up()).sum()
    }

    /// The worst of all breakers.
    pub(super) fn breaker(&self) -> BreakerState {
        let states = self.all().into_iter().map(|server| server.breaker.state());
        let badness = |state: &BreakerState| match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        states.max_by_key(badness).unwrap_or(BreakerState::Closed)
    }

    /// Whether some server would be asked now.
    pub(super) fn usable(&self) -> bool {
        let usable = |server: &Arc<Server>| server.pool.up() > 0 && server.breaker.state() != BreakerState::Open;
        !self.closed.load(Ordering::Relaxed) && self.all().iter().any(usable)
    }

    /// Whether what some server holds may be relied on, and whether what all do.
    pub(super) fn trusted(&self, now: Instant) -> (bool, bool) {
        let all = self.all();
        let some = all.iter().any(|server| server.pool.is_trusted(now));
        (some, some && all.iter().all(|server| server.pool.is_trusted(now)))
    }

    /// Returns when every server has a connection.
    pub(super) async fn ready(&self) {
        let mut came_up = self.came_up();
        loop {
            came_up.mark_unchanged();
            let all = self.all();
            if !all.is_empty() && all.iter().all(|server| server.pool.up() > 0) {
                return;
            }
            if came_up.changed().await.is_err() {
                return;
            }
        }
    }

    /// The time of a round trip to each server, all asked at once and whatever their breakers say.
    pub(super) async fn ping(&self) -> Vec<(String, Result<Duration, CacheError>)> {
        join_all(self.all().iter().map(async |server| (server.address(), server.ping().await))).await
    }

    /// No new work; what is under way may end, for at most so long; then no connections any more.
    pub(super) async fn close(&self, at_most: Duration) {
        self.closed.store(true, Ordering::Relaxed);
        let under_way = || self.all().iter().any(|server| server.pool.in_flight() > 0);
        let end = async {
            while under_way() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(at_most, end).await.ok();
        self.all().iter().for_each(|server| server.close());
    }

    fn refuse_when_closed(&self) -> Result<(), CacheError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(CacheError::Unavailable("it was closed"));
        }
        Ok(())
    }

    /// One command.
    pub(super) async fn call<T: FromRedisValue>(&self, via: Via, command: Command) -> Result<T, CacheError> {
        let mut answers = self.call_all(via, vec![command]).await;
        answers.pop().ok_or(CacheError::Unavailable("an empty answer"))?.and_then(parsed)
    }

    /// Many commands, in one round trip for each server; the answers are in their order.
    pub(super) async fn call_all(&self, via: Via, commands: Vec<Command>) -> Vec<Result<Value, CacheError>> {
        let count = commands.len();
        if commands.is_empty() {
            return Vec::new();
        }
        if let Err(error) = self.refuse_when_closed() {
            return vec![Err(error); count];
        }
        match &self.reach {
            Reach::One(server) => server.run(via, commands).await.unwrap_or_else(|error| vec![Err(error); count]),
            Reach::Cluster(cluster) => self.scatter(cluster, via, commands).await,
        }
    }

    /// To each server its commands, all servers at once. What a server redirects is sent once more, inside the time limit.
    async fn scatter(&self, cluster: &Cluster, via: Via, commands: Vec<Command>) -> Vec<Result<Value, CacheError>> {
        let deadline = tokio::time::Instant::now() + self.command_timeout;
        let mut gathered = Gathered::new(commands.len());
        let map = cluster.map();
        let mut groups: Vec<Group> = Vec::new();
        for (i, command) in commands.into_iter().enumerate() {
            let server = map.index(&command.key).map_or(&self.nowhere, |index| &map.servers[index]);
            Group::of(&mut groups, server, false).add(i, command);
        }
        let sent = groups.into_iter().map(async |group| {
            let (server, which, batch) = group.packed();
            let result = server.answers(via, &batch).await;
            (server, which, batch, result)
        });
        let mut again: Vec<Group> = Vec::new();
        for (server, which, batch, result) in join_all(sent).await {
            if matches!(result, Err(CacheError::Connection(_) | CacheError::Unavailable(_))) {
                cluster.doubt();
            }
            let said_by = server.at.as_ref().map_or("", |at| &at.host);
            let redirect = |i: usize, answer: &Value| Some((Redirect::of(answer, said_by)?, batch.command(i)?));
            gathered.put(&which, result, |i, answer| {
                let Some((redirect, command)) = redirect(i, answer) else { return false };
                let server = cluster.follow(&redirect);
                Group::of(&mut again, &server, matches!(redirect, Redirect::Ask(_))).add(which[i], command);
                true
            });
        }
        let sent = again.into_iter().map(async |group| {
            let (server, which, batch) = group.packed();
            let work = async {
                // A server heard of just now has no connection yet.
                server.pool.is_up().await;
                server.answers(via, &batch).await
            };
            (which, timeout_at(deadline, work).await.unwrap_or(Err(CacheError::Timeout)))
        });
        for (which, result) in join_all(sent).await {
            gathered.put(&which, result, |_, _| false);
        }
        gathered.all()
    }
}

/// Commands for one server, each with its place among all.
struct Group {
    server: Arc<Server>,
    asking: bool,
    which: Vec<usize>,
    commands: Vec<Command>,
}

impl Group {
    fn of<'a>(groups: &'a mut Vec<Self>, server: &Arc<Server>, asking: bool) -> &'a mut Self {
        let at = groups.iter().position(|group| Arc::ptr_eq(&group.server, server) && group.asking == asking);
        let at = at.unwrap_or_else(|| {
            groups.push(Self { server: Arc::clone(server), asking, which: Vec::new(), commands: Vec::new() });
            groups.len() - 1
        });
        &mut groups[at]
    }

    fn add(&mut self, i: usize, command: Command) {
        self.which.push(i);
        self.commands.push(command);
    }

    fn packed(self) -> (Arc<Server>, Vec<usize>, Batch) {
        (self.server, self.which, Batch::new(self.commands, self.asking))
    }
}

/// Answers of several servers, put in the order of the questions.
struct Gathered(Vec<Result<Value, CacheError>>);

impl Gathered {
    fn new(count: usize) -> Self {
        Self(vec![Err(CacheError::Unavailable("an answer is missing")); count])
    }

    /// Puts the answers of one server where they belong, but for those that `elsewhere` takes.
    fn put(
        &mut self,
        which: &[usize],
        result: Result<Vec<Value>, CacheError>,
        mut elsewhere: impl FnMut(usize, &Value) -> bool,
    ) {
        match result {
            Ok(answers) => {
                for (i, answer) in answers.into_iter().enumerate().take(which.len()) {
                    if !elsewhere(i, &answer) {
                        self.0[which[i]] = understood(answer);
                    }
                }
            }
            Err(error) => which.iter().for_each(|i| self.0[*i] = Err(error.clone())),
        }
    }

    fn all(self) -> Vec<Result<Value, CacheError>> {
        self.0
    }
}

/// The answer as the type asked for.
pub(super) fn parsed<T: FromRedisValue>(value: Value) -> Result<T, CacheError> {
    T::from_redis_value(value).map_err(|error| CacheError::Server(error.to_string()))
}

fn either(first: &Credentials, second: &Credentials) -> Credentials {
    Credentials {
        username: first.username.clone().or_else(|| second.username.clone()),
        password: first.password.clone().or_else(|| second.password.clone()),
    }
}
