use super::dial::{Dialer, Line};
use super::place::Place;
use super::url::Address;
use super::{Command, Order, Via, slot};
use crate::breaker::Breaker;
use crate::metrics::Metrics;
use crate::store::CacheError;
use crate::store::redis::pool::{self, Held, Pool, TOO_MANY, UNFIT, Why};
use crate::store::redis::{RedisConfig, trust};
use prometheus_client::metrics::gauge::Gauge;
use redis::{Cmd, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant as StdInstant};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// One server that takes writes.
pub(in crate::store::redis) struct Server {
    pub(super) pool: Arc<Pool>,
    pub(in crate::store::redis) breaker: Breaker,
    pub(super) command_timeout: Duration,
    /// Where it was when it was made.
    pub(super) at: Option<Address>,
    /// In a cluster: the slots it holds, as ranges.
    slots: RwLock<Vec<(u16, u16)>>,
    keepers: Mutex<JoinSet<()>>,
}

/// Commands on their way to one server, in one round trip.
pub(super) struct Batch {
    pipeline: Pipeline,
    about: Vec<About>,
    /// Each is preceded by `ASKING`: a server that takes over a slot then answers for keys that it has already.
    asking: bool,
}

/// What is to be known of a command beside its bytes; see [`Command`].
struct About {
    key: String,
    with_source: Option<Cmd>,
    order: Order,
}

impl Batch {
    pub(super) fn new(commands: Vec<Command>, asking: bool) -> Self {
        let mut pipeline = Pipeline::with_capacity(commands.len() * (1 + usize::from(asking)));
        let mut about = Vec::with_capacity(commands.len());
        for Command { key, command, with_source, order } in commands {
            if asking {
                pipeline.add_command(redis::cmd("ASKING"));
            }
            pipeline.add_command(command);
            about.push(About { key, with_source, order });
        }
        Self { pipeline, about, asking }
    }

    pub(super) fn len(&self) -> usize {
        self.about.len()
    }

    /// One of the commands, to be sent elsewhere.
    pub(super) fn command(&self, i: usize) -> Option<Command> {
        let at = if self.asking { 2 * i + 1 } else { i };
        let command = self.pipeline.cmd_iter().nth(at)?.clone();
        let About { key, with_source, order } = self.about.get(i)?;
        Some(Command { key: key.clone(), command, with_source: with_source.clone(), order: order.clone() })
    }

    async fn send(&self, connection: &Held) -> Result<Vec<Value>, RedisError> {
        let mut answers = send(connection, &self.pipeline, self.asking).await?;
        // A script that the server does not know (any more) goes out once more, whole; and so does what has to come behind it.
        let unknown = |i: usize| matches!(&answers[i], Value::ServerError(e) if e.code() == "NOSCRIPT");
        let all = answers.len().min(self.len());
        if let Some(first) = (0..all).find(|i| unknown(*i)) {
            let again = (first..all).filter_map(|i| match &self.about[i] {
                About { with_source: Some(source), .. } if unknown(i) => Some((i, source.clone())),
                About { order: Order::Any, .. } => None,
                About { order: Order::Behind, .. } => Some((i, self.command(i)?.command)),
                About { order: Order::LooksBehind(lookups), .. } => {
                    lookups.count(answers[i] != Value::Nil);
                    Some((i, self.command(i)?.command))
                }
            });
            let again: Vec<_> = again.collect();
            let mut pipeline = Pipeline::with_capacity(again.len());
            for (_, command) in &again {
                if self.asking {
                    pipeline.add_command(redis::cmd("ASKING"));
                }
                pipeline.add_command(command.clone());
            }
            for ((i, _), answer) in again.iter().zip(send(connection, &pipeline, self.asking).await?) {
                answers[*i] = answer;
            }
        }
        Ok(answers)
    }
}

async fn send(connection: &Held, pipeline: &Pipeline, asking: bool) -> Result<Vec<Value>, RedisError> {
    let mut inner = connection.get();
    let count = pipeline.len();
    if count == 1
        && let Some(command) = pipeline.cmd_iter().next()
    {
        return inner.send_packed_command(command).await.map(|value| vec![value]).or_else(as_value);
    }
    let answers = inner.send_packed_commands(pipeline, 0, count).await?;
    Ok(if asking { answers.into_iter().skip(1).step_by(2).collect() } else { answers })
}

/// A refusal of a single command is an answer, too.
fn as_value(error: RedisError) -> Result<Vec<Value>, RedisError> {
    redis::ServerError::try_from(error).map(|error| vec![Value::ServerError(error)])
}

/// One answer, a refusal being an error.
pub(super) fn understood(answer: Value) -> Result<Value, CacheError> {
    answer.extract_error().map_err(|error| {
        if pool::is_fatal(&error) {
            CacheError::Connection(error.to_string())
        } else {
            CacheError::Server(error.to_string())
        }
    })
}

impl Server {
    pub(super) fn new(
        (pool, keepers): (Arc<Pool>, JoinSet<()>),
        at: Option<Address>,
        breaker: Breaker,
        command_timeout: Duration,
    ) -> Self {
        let keepers = Mutex::new(keepers);
        Self { pool, breaker, command_timeout, at, slots: RwLock::default(), keepers }
    }

    /// No server at all: every call is refused at once.
    pub(super) fn nowhere(dialer: Dialer, config: &RedisConfig, metrics: &Metrics) -> Self {
        let address = Address { host: "nowhere".into(), port: 0 };
        let breaker = Breaker::new(config.breaker(), Gauge::default(), StdInstant::now());
        let pool = Pool::empty(Place::Fixed(address.clone(), dialer), config, metrics);
        Self::new((Arc::new(pool), JoinSet::new()), Some(address), breaker, config.command_timeout)
    }

    /// `host:port`; in front of the first connection to a server that sentinels watch, that of a sentinel.
    pub(in crate::store::redis) fn address(&self) -> String {
        self.pool.address()
    }

    /// A name of a key on this very server that begins with `prefix`: the prefix itself where there is but one server, and otherwise with a
    /// hash tag behind it (in front of it when it has one of its own). It stays the same as long as the server holds its slots; when they
    /// move, the name does, and what is under the old one is not to be relied on. `None` for a server of a cluster without slots.
    pub(in crate::store::redis) fn own_name(&self, prefix: &str) -> Option<String> {
        match &self.at {
            None => Some(prefix.to_owned()),
            Some(_) => slot::name_in(&self.slots.read().unwrap_or_else(PoisonError::into_inner), prefix),
        }
    }

    /// Whether a key belongs here.
    pub(in crate::store::redis) fn owns(&self, key: &str) -> bool {
        let slot = slot::of(key);
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        self.at.is_none() || slots.iter().any(|(from, to)| (*from..=*to).contains(&slot))
    }

    /// In a cluster: these slots. When they change, what was known of the server's data is known no more.
    pub(super) fn holds(&self, slots: Vec<(u16, u16)>, namespace: &str) {
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = slots;
        if let Some(trust) = &self.pool.trust
            && let Some(watermark) = self.own_name(&trust::names(namespace).1)
            && trust.rename(watermark)
        {
            self.pool.distrust();
        }
    }

    /// A connection of its own, outside the pool.
    pub(in crate::store::redis) async fn dedicated(&self) -> RedisResult<Line> {
        self.connect(&self.locate().await?).await
    }

    /// Where it is now.
    pub(in crate::store::redis) async fn locate(&self) -> RedisResult<Address> {
        self.pool.locate().await
    }

    /// [`Server::dedicated`] to where it was [located](Server::locate).
    pub(in crate::store::redis) async fn connect(&self, address: &Address) -> RedisResult<Line> {
        self.pool.connect_to(address).await
    }

    /// A connection of its own for subscriptions, outside the pool, and where it leads to.
    pub(in crate::store::redis) async fn pubsub(&self) -> RedisResult<(redis::aio::PubSub, Address)> {
        self.pool.pubsub().await
    }

    /// How long a watermark may be relied on.
    pub(in crate::store::redis) fn trust_at_most(&self, delta: Duration) {
        if let Some(trust) = &self.pool.trust {
            trust.set_at_most(delta);
        }
    }

    /// Commands in one round trip, in time, on a connection that is up. The breaker and the connection learn how it went.
    pub(in crate::store::redis) async fn run(
        &self,
        via: Via,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Value, CacheError>>, CacheError> {
        let answers = self.answers(via, &Batch::new(commands, false)).await?;
        Ok(answers.into_iter().map(understood).collect())
    }

    /// The same with refusals as they came.
    pub(super) async fn answers(&self, via: Via, batch: &Batch) -> Result<Vec<Value>, CacheError> {
        // Two looks at the clock, before and after, for all who want to know.
        let start = Instant::now();
        let permit = match via {
            Via::Breaker | Via::Trusted => {
                Some(self.breaker.permit(start.into_std()).ok_or(CacheError::Unavailable("the breaker is open"))?)
            }
            Via::Direct => None,
        };
        let (well, result) = self.answers_from(start, via, batch).await;
        // A permit that is dropped counts as no call.
        if let (Some(permit), Some((well, end))) = (permit, well) {
            permit.record(well, end);
        }
        result
    }

    /// Whether that speaks for the server or against it (`None`: neither), and when it ended.
    async fn answers_from(
        &self,
        start: Instant,
        via: Via,
        batch: &Batch,
    ) -> (Option<(bool, StdInstant)>, Result<Vec<Value>, CacheError>) {
        let (trusted, asked) = (matches!(via, Via::Trusted), start.into_std());
        let picked = if trusted {
            self.pool.pick_where(|connection| connection.trusted_until(asked).is_some())
        } else {
            self.pool.pick()
        };
        let failed = || (false, Instant::now().into_std());
        let mut connection = match picked {
            Ok(connection) => connection,
            // Known without asking.
            Err(CacheError::Unavailable(UNFIT)) => return (None, Err(CacheError::Untrusted)),
            Err(error) => return ((error != CacheError::Unavailable(TOO_MANY)).then(failed), Err(error)),
        };
        let until = if trusted { connection.trusted_until(asked) } else { None };
        match timeout_at(start + self.command_timeout, batch.send(&connection)).await {
            Ok(Ok(answers)) => {
                connection.answered();
                let well = self.look_through(&connection, &answers);
                // An answer that was long on its way is as old as the question: the window of then counts, and no later one.
                let now = Instant::now().into_std();
                if trusted && (until.is_none_or(|until| until < now) || connection.trusted_until(now).is_none()) {
                    return (Some((well, now)), Err(CacheError::Untrusted));
                }
                (Some((well, now)), Ok(answers))
            }
            Ok(Err(error)) => {
                self.pool.replace(&connection, Why::Broken);
                (Some(failed()), Err(CacheError::Connection(error.to_string())))
            }
            Err(_elapsed) => {
                // Many requests may wait on one connection: its silence counts once.
                let first = self.pool.silent(&connection);
                (first.then(failed), Err(CacheError::Timeout))
            }
        }
    }

    /// Whether a server that answers so is well.
    fn look_through(&self, connection: &Held, answers: &[Value]) -> bool {
        let mut well = true;
        for answer in answers {
            let Value::ServerError(error) = answer else { continue };
            match error.kind() {
                Some(ServerErrorKind::ReadOnly) => {
                    self.pool.replace(connection, Why::ReadOnly);
                    well = false;
                }
                Some(ServerErrorKind::BusyLoading | ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown) => {
                    well = false
                }
                _ => {}
            }
        }
        well
    }

    /// The time of a round trip.
    pub(super) async fn ping(&self) -> Result<Duration, CacheError> {
        let start = Instant::now();
        let mut answers = self.run(Via::Direct, vec![Command::new("", redis::cmd("PING"))]).await?;
        answers.pop().ok_or(CacheError::Unavailable("an empty answer"))??;
        Ok(start.elapsed())
    }

    /// Ends its connections, and makes no new ones.
    pub(super) fn close(&self) {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.pool.close();
    }
}
