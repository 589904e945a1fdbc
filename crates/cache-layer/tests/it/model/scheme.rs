//! The schemes and the faults, as data.

/// When a reader may store what it loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Always.
    Plain,
    /// Always; a lock with a timeout keeps other loaders away.
    Locked,
    /// When what is there is older.
    Newer,
    /// While no tombstone is there.
    NoTombstone,
    /// When it is not below the floor that invalidations leave behind, and newer than what is there.
    AboveFloor,
    /// While the lease that was taken before the load is there.
    Leased,
}

/// What a writer does to the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Deletes after its commit.
    Delete,
    /// Deletes before its commit.
    DeleteFirst,
    /// Deletes after its commit, and once more later.
    DeleteTwice,
    /// Stores the new value after its commit.
    Through,
    /// The same, when what is there is older.
    ThroughNewer,
}

/// What runs beside readers and writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relay {
    /// Nothing.
    None,
    /// A relay that applies each committed invalidation once.
    Outbox,
    /// The same, and it says up to where in a watermark without which nobody trusts the cache. How it knows
    /// where it stands is the difference.
    Watermark(Position),
}

/// Where the relay's position is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// In the data that it describes; an unknown position empties the cache.
    InRedis,
    /// With the relay.
    WithRelay,
    /// In Redis, but an unknown one counts as up to date.
    InRedisUnknownIsCurrent,
}

/// A way to keep a cache coherent.
#[derive(Clone, Copy, Debug)]
pub struct Scheme {
    pub name: &'static str,
    pub fill: Fill,
    pub write: Write,
    pub relay: Relay,
    /// The loader reads a snapshot from before it asked the cache.
    pub old_snapshot: bool,
}

const fn scheme(name: &'static str, fill: Fill, write: Write, relay: Relay) -> Scheme {
    Scheme { name, fill, write, relay, old_snapshot: false }
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A value or a version floor is evicted.
    Evict,
    /// `FLUSHALL`; connections stay.
    Flush,
    /// The server restarts empty.
    Restart,
    /// Failover to a replica that lags, or a restart from an older RDB: an earlier state is back.
    Restore,
    /// A writer dies between its commit and its invalidation, or Redis cannot be reached then.
    Lost,
}

pub const FAULTS: [Fault; 5] = [Fault::Evict, Fault::Flush, Fault::Restart, Fault::Restore, Fault::Lost];

/// The last scheme, the one that is built.
pub const PROMISE: Scheme =
    scheme("lease + outbox + watermark", Fill::Leased, Write::Delete, Relay::Watermark(Position::InRedis));

/// Each scheme and, for no fault and then each of [`FAULTS`], whether it holds (`.`) or is refuted (`x`).
pub const TABLE: [(Scheme, &str); 17] = [
    (scheme("DEL after commit", Fill::Plain, Write::Delete, Relay::None), "xxxxxx"),
    (scheme("DEL before commit", Fill::Plain, Write::DeleteFirst, Relay::None), "xxxxxx"),
    (scheme("delayed double delete", Fill::Plain, Write::DeleteTwice, Relay::None), "xxxxxx"),
    (scheme("SET NX lock around the load", Fill::Locked, Write::Delete, Relay::None), "xxxxxx"),
    (scheme("write-through", Fill::Plain, Write::Through, Relay::None), "xxxxxx"),
    (scheme("write-through with compare", Fill::Newer, Write::ThroughNewer, Relay::None), ".xxxxx"),
    (scheme("tombstone with TTL", Fill::NoTombstone, Write::Delete, Relay::None), "xxxxxx"),
    (scheme("version floor (CAS)", Fill::AboveFloor, Write::Delete, Relay::None), ".xxxxx"),
    (scheme("lease, DEL before commit", Fill::Leased, Write::DeleteFirst, Relay::None), "xxxxxx"),
    (
        Scheme { old_snapshot: true, ..scheme("lease, older snapshot", Fill::Leased, Write::Delete, Relay::None) },
        "xxxxxx",
    ),
    (scheme("lease", Fill::Leased, Write::Delete, Relay::None), "....xx"),
    // With one writer a lost invalidation alone leaves nothing stale here; a second writer is the race of the first row.
    (scheme("DEL + outbox", Fill::Plain, Write::Delete, Relay::Outbox), "xxxxxx"),
    (scheme("CAS + outbox", Fill::AboveFloor, Write::Delete, Relay::Outbox), ".xxxx."),
    (scheme("lease + outbox", Fill::Leased, Write::Delete, Relay::Outbox), "....x."),
    (
        scheme(
            "  + watermark, unknown = current",
            Fill::Leased,
            Write::Delete,
            Relay::Watermark(Position::InRedisUnknownIsCurrent),
        ),
        "..xx..",
    ),
    (
        scheme(
            "  + watermark, position with relay",
            Fill::Leased,
            Write::Delete,
            Relay::Watermark(Position::WithRelay),
        ),
        "....x.",
    ),
    (PROMISE, "......"),
];
