//! Something broken on purpose, as the other crates see it.

use std::time::Duration;

/// Something broken on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// What is done.
    pub action: FaultAction,
    /// To whom.
    pub victim: Victim,
    /// How long after the phase's start.
    pub after: Duration,
    /// How long it is held. `None`: to the phase's end.
    pub lasts: Option<Duration>,
    /// Injected again so long after each injection, until the phase ends. `None`: once.
    pub every: Option<Duration>,
}

impl FaultSpec {
    /// In words, for people: `kill redis`, `latency redis (50ms ± 10ms)`.
    pub fn describe(&self) -> String {
        super::fault_text::describe(self)
    }

    /// As a scenario writes it: `{ kill = "redis", after = "2s", lasts = "5s" }`. Read again it is the same.
    pub fn to_toml(&self) -> String {
        super::fault_text::to_toml(self)
    }
}

/// What is done to the victim.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultAction {
    /// SIGKILL; undone by starting it again, with what its disk kept.
    Kill,
    /// SIGTERM; undone by starting it again.
    Stop,
    /// SIGSTOP (a container: pause); undone by SIGCONT.
    Pause,
    /// Stopped and started again at once; nothing to undo.
    Restart {
        /// Whether it finds the data that its disk kept, or begins with none.
        keep_data: bool,
    },
    /// FLUSHALL; nothing to undo.
    Flush,
    /// Written full until it evicts or refuses; undone by deleting what was written.
    FillMemory,
    /// Connections opened until it refuses more; undone by closing them.
    FillClients,
    /// Something done to the connections that pass through cacheproof's proxy.
    Link(LinkFault),
    /// One instance of the app is cut off from Redis (black hole); the others are not.
    Partition,
    /// Sentinel makes a replica the master; nothing to undo.
    Failover {
        /// To a replica that has been kept from following, so that it lacks the last writes.
        lagging: bool,
    },
    /// A command of the user's own.
    Command {
        /// What breaks it, for `sh -c`.
        run: String,
        /// What mends it.
        undo: Option<String>,
        /// Ends with exit status 0 while the effect is there, and with another before and after. `None`: the effect must show in
        /// the answers.
        check: Option<String>,
    },
}

impl FaultAction {
    /// Whether it is over as soon as it is done, so that there is nothing to hold and nothing to undo.
    pub fn is_instantaneous(&self) -> bool {
        matches!(self, Self::Restart { .. } | Self::Flush | Self::Failover { .. } | Self::Command { undo: None, .. })
    }

    /// Whether the victim still answers, only slower.
    pub fn only_slows(&self) -> bool {
        match self {
            Self::Link(link) => match link.kind {
                LinkFaultKind::Latency { .. } | LinkFaultKind::Bandwidth { .. } | LinkFaultKind::Slice { .. } => true,
                LinkFaultKind::Refuse | LinkFaultKind::Reset | LinkFaultKind::BlackHole | LinkFaultKind::HalfOpen => {
                    false
                }
            },
            Self::Kill
            | Self::Stop
            | Self::Pause
            | Self::Restart { .. }
            | Self::Flush
            | Self::FillMemory
            | Self::FillClients
            | Self::Partition
            | Self::Failover { .. }
            | Self::Command { .. } => false,
        }
    }

    /// Whether connections survive it: clients need not reconnect when it is over.
    pub fn keeps_connections(&self) -> bool {
        match self {
            Self::Link(_) => self.only_slows(),
            Self::Pause => true,
            Self::Kill
            | Self::Stop
            | Self::Restart { .. }
            | Self::Flush
            | Self::FillMemory
            | Self::FillClients
            | Self::Partition
            | Self::Failover { .. }
            | Self::Command { .. } => false,
        }
    }

    /// Whether it may take the keys out of a cache server.
    pub fn can_empty(&self) -> bool {
        match self {
            Self::Link(_) | Self::Pause | Self::FillClients | Self::Partition => false,
            Self::Kill
            | Self::Stop
            | Self::Restart { .. }
            | Self::Flush
            | Self::FillMemory
            | Self::Failover { .. }
            | Self::Command { .. } => true,
        }
    }

    /// The scenario's word for it: `kill`, `pause`, `latency`…
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Restart { .. } => "restart",
            Self::Flush => "flush",
            Self::FillMemory => "fill_memory",
            Self::FillClients => "fill_clients",
            Self::Link(link) => link.kind.as_str(),
            Self::Partition => "partition",
            Self::Failover { .. } => "failover",
            Self::Command { .. } => "run",
        }
    }
}

/// Something done to connections by cacheproof's proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFault {
    /// What is done.
    pub kind: LinkFaultKind,
    /// To which direction's bytes.
    pub direction: Direction,
    /// Share of the connections that it hits, 0 to 1, drawn for each connection from the run's seed.
    pub share: f64,
    /// Whether it hits connections that are open already, that come later, or both.
    pub connection_scope: ConnectionScope,
}

/// What a proxy can do to a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkFaultKind {
    /// Every byte arrives later by `delay`, give or take up to `jitter`; order is kept.
    Latency {
        /// Mean delay.
        delay: Duration,
        /// Uniform in −jitter to +jitter.
        jitter: Duration,
    },
    /// No more than this passes in a second.
    Bandwidth {
        /// Bytes a second and direction.
        bytes: u64,
    },
    /// New connections are refused (ECONNREFUSED); open ones run on.
    Refuse,
    /// Open connections are reset (RST), new ones as soon as they are accepted.
    Reset,
    /// Bytes are taken and never delivered; nothing is closed.
    BlackHole,
    /// Bytes arrive in pieces of this size, one after another with a gap.
    Slice {
        /// Bytes a piece.
        size: u64,
        /// Time between two pieces.
        gap: Duration,
    },
    /// The server's side is closed; the client's is left open and gets no notice.
    HalfOpen,
}

impl LinkFaultKind {
    /// The scenario's word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Bandwidth { .. } => "bandwidth",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::BlackHole => "black_hole",
            Self::Slice { .. } => "slice",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Direction of the bytes on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    #[default]
    Both,
    /// From the app to the server.
    ToServer,
    /// From the server to the app.
    ToClient,
}

/// Which connections a fault hits, by their age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionScope {
    /// Those that are open and those that come.
    #[default]
    All,
    /// Those that are open when it is injected.
    Live,
    /// Those that come while it lasts.
    New,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The cache server; its master where there are several (of a Cluster, the first).
    Redis,
    /// The first replica of the cache server.
    RedisReplica,
    /// The Sentinels, all of them.
    Sentinels,
    /// The database.
    Postgres,
    /// The app under test: one instance, counted from 1, or `None` for all. Only an app that cacheproof started.
    App(Option<usize>),
    /// Whatever the user's own command breaks.
    Custom,
}

impl std::fmt::Display for Victim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Redis => formatter.write_str("redis"),
            Self::RedisReplica => formatter.write_str("redis replica"),
            Self::Sentinels => formatter.write_str("sentinels"),
            Self::Postgres => formatter.write_str("postgres"),
            Self::App(None) => formatter.write_str("app"),
            Self::App(Some(instance)) => write!(formatter, "app {instance}"),
            Self::Custom => formatter.write_str("by command"),
        }
    }
}
