//! One key, its readers and writers, the relays, and every step that any of them can take next.

use super::scheme::{Fault, Fill, Position, Relay, Scheme, Write};
use stateright::{Model, Property};

/// A version of the row; each commit makes the next.
type Version = u8;

const READERS: usize = 2;

/// What Redis holds about the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Redis {
    value: Option<Version>,
    /// Who holds the lease, or the lock.
    lease: Option<u8>,
    floor: Option<Version>,
    tombstone: bool,
    position: Option<Version>,
    watermark: Option<Version>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    /// Has opened a snapshot too early.
    OldSnapshot(Version),
    Missed,
    Loaded(Version),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    /// Has invalidated, has not committed.
    Announced,
    /// Has committed, must tell the cache.
    Committed(Version),
    /// Must delete once more.
    Again(Version),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Round {
    Idle,
    /// Has read where the cache stands.
    Began(Option<Version>),
    /// Has read the database.
    Polled(Option<Version>, Version),
    Applied(Version),
    Positioned(Version),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RelayState {
    round: Round,
    /// The connection on which the round began.
    connection: u8,
    /// What the relay itself remembers, where it is the one to remember.
    remembers: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    db: Version,
    redis: Redis,
    /// What a replica, or an RDB, still has.
    saved: Option<Redis>,
    readers: [Reader; READERS],
    writers: [Option<Writer>; 2],
    relays: [Option<RelayState>; 2],
    /// Rises when connections break.
    connection: u8,
    /// The watermark by which a reader trusts its connection.
    window: Option<Version>,
    faults: u8,
}

/// Who did what; a counter-example is a list of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Hit(usize),
    Miss(usize),
    MissWithoutLease(usize),
    OpensSnapshot(usize),
    Loads(usize, Version),
    Fills(usize, Version),
    FillRejected(usize, Version),
    Commits(usize, Version),
    Invalidates(usize),
    WritesThrough(usize, Version),
    RelayBegins(Option<Version>),
    RelayPolls(Version),
    RelayApplies(Version),
    RelaySetsPosition(Version),
    RelaySetsWatermark(Version),
    RelayLosesConnection,
    WatermarkEnds,
    TombstoneEnds,
    WindowOpens(Version),
    WindowEnds,
    IsSaved,
    Fault(Fault),
}

/// A step and where it leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub event: Event,
    to: State,
}

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    pub scheme: Scheme,
    pub writers: usize,
    pub relays: usize,
    pub faults: &'static [Fault],
    pub at_most: u8,
    /// Whether a reader's trust window is a part of the state, beyond the watermark itself.
    pub window: bool,
}

impl Model for Deployment {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let position = matches!(self.scheme.relay, Relay::Watermark(_)).then_some(0);
        let relay = RelayState { round: Round::Idle, connection: 0, remembers: 0 };
        let relays = if self.scheme.relay == Relay::None { 0 } else { self.relays };
        vec![State {
            db: 0,
            redis: Redis { value: Some(0), position, ..Redis::default() },
            saved: None,
            readers: [Reader::Idle; READERS],
            writers: std::array::from_fn(|i| (i < self.writers).then_some(Writer::Idle)),
            relays: std::array::from_fn(|i| (i < relays).then_some(relay)),
            connection: 0,
            window: None,
            faults: 0,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for i in 0..READERS {
            self.reader(state, i, steps);
        }
        for i in 0..state.writers.len() {
            self.writer(state, i, steps);
        }
        for i in 0..state.relays.len() {
            self.relay(state, i, steps);
        }
        self.time(state, steps);
        self.fault(state, steps);
    }

    fn next_state(&self, _: &State, step: Step) -> Option<State> {
        Some(step.to)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::<Self>::always("nothing stale", |deployment, state| deployment.holds(state))]
    }
}

impl Deployment {
    /// At rest the cached value is the database's; and, with a watermark, at every moment it is not older than that says.
    fn holds(&self, state: &State) -> bool {
        let Some(value) = state.redis.value else { return true };
        let at_rest = state.readers.iter().all(|reader| *reader == Reader::Done)
            && state.writers.iter().flatten().all(|writer| *writer == Writer::Done);
        match self.scheme.relay {
            Relay::None => !at_rest || value >= state.db,
            Relay::Outbox => {
                let drained = state.relays.iter().flatten().all(|relay| relay.remembers == state.db);
                !at_rest || !drained || value >= state.db
            }
            Relay::Watermark(_) => value >= state.redis.watermark.max(state.window).unwrap_or(0),
        }
    }

    fn reader(&self, state: &State, i: usize, steps: &mut Vec<Step>) {
        let leased = self.scheme.fill == Fill::Leased;
        let token = u8::try_from(i + 1).expect("few readers");
        let mut step = |event, reader, redis| {
            let mut to = State { redis, ..*state };
            to.readers[i] = reader;
            steps.push(Step { event, to });
        };
        let redis = state.redis;
        let with_lease = Redis { lease: Some(token), ..redis };
        match state.readers[i] {
            Reader::Idle if self.scheme.old_snapshot => {
                step(Event::OpensSnapshot(i), Reader::OldSnapshot(state.db), redis);
            }
            Reader::Idle | Reader::OldSnapshot(_) if redis.value.is_some() => step(Event::Hit(i), Reader::Done, redis),
            // A lease or lock may be overtaken at any time: its timeout is abstracted.
            Reader::OldSnapshot(read) => step(Event::Miss(i), Reader::Loaded(read), with_lease),
            Reader::Idle => {
                let takes = leased || self.scheme.fill == Fill::Locked;
                step(Event::Miss(i), Reader::Missed, if takes { with_lease } else { redis });
                if leased && redis.lease.is_some() {
                    step(Event::MissWithoutLease(i), Reader::Done, redis);
                }
            }
            Reader::Missed => step(Event::Loads(i, state.db), Reader::Loaded(state.db), redis),
            Reader::Loaded(read) => {
                let newer = redis.value.is_none_or(|value| read > value);
                let allowed = match self.scheme.fill {
                    Fill::Plain | Fill::Locked => true,
                    Fill::Newer => newer,
                    Fill::NoTombstone => !redis.tombstone,
                    Fill::AboveFloor => newer && redis.floor.is_none_or(|floor| read >= floor),
                    Fill::Leased => redis.lease == Some(token),
                };
                if allowed {
                    step(Event::Fills(i, read), Reader::Done, Redis { value: Some(read), lease: None, ..redis });
                } else {
                    step(Event::FillRejected(i, read), Reader::Done, redis);
                }
            }
            Reader::Done => {}
        }
    }

    fn writer(&self, state: &State, i: usize, steps: &mut Vec<Step>) {
        let Some(writer) = state.writers[i] else { return };
        let mut step = |event, writer, mut to: State| {
            to.writers[i] = Some(writer);
            steps.push(Step { event, to });
        };
        let next = state.db + 1;
        let committed = State { db: next, ..*state };
        match (writer, self.scheme.write) {
            (Writer::Idle, Write::DeleteFirst) => {
                let redis = self.invalidated(state.redis, state.db);
                step(Event::Invalidates(i), Writer::Announced, State { redis, ..*state });
            }
            (Writer::Announced, _) => step(Event::Commits(i, next), Writer::Done, committed),
            (Writer::Idle, _) => step(Event::Commits(i, next), Writer::Committed(next), committed),
            (Writer::Committed(version) | Writer::Again(version), write) => {
                if self.may_fail(state, Fault::Lost) {
                    let to = State { faults: state.faults + 1, ..*state };
                    step(Event::Fault(Fault::Lost), Writer::Done, to);
                }
                let mut redis = state.redis;
                let event = match write {
                    Write::Through | Write::ThroughNewer => {
                        if write == Write::Through || redis.value.is_none_or(|value| version > value) {
                            redis.value = Some(version);
                        }
                        Event::WritesThrough(i, version)
                    }
                    Write::Delete | Write::DeleteFirst | Write::DeleteTwice => {
                        redis = self.invalidated(redis, version);
                        Event::Invalidates(i)
                    }
                };
                let again = write == Write::DeleteTwice && matches!(writer, Writer::Committed(_));
                let then = if again { Writer::Again(version) } else { Writer::Done };
                step(event, then, State { redis, ..*state });
            }
            (Writer::Done, _) => {}
        }
    }

    fn invalidated(&self, redis: Redis, version: Version) -> Redis {
        let floor = (self.scheme.fill == Fill::AboveFloor).then(|| version.max(redis.floor.unwrap_or(0)));
        let tombstone = self.scheme.fill == Fill::NoTombstone;
        // A lock is no lease: it lives in a key of its own and a deletion does not touch it.
        let lease = if self.scheme.fill == Fill::Locked { redis.lease } else { None };
        Redis { value: None, lease, floor, tombstone, ..redis }
    }

    fn relay(&self, state: &State, i: usize, steps: &mut Vec<Step>) {
        let Some(relay) = state.relays[i] else { return };
        let mut step = |event, round, remembers, redis| {
            let connection = match (relay.round, round) {
                (_, Round::Idle) => 0,
                (Round::Idle, _) => state.connection,
                _ => relay.connection,
            };
            let mut to = State { redis, ..*state };
            to.relays[i] = Some(RelayState { round, connection, remembers });
            steps.push(Step { event, to });
        };
        let (redis, remembers) = (state.redis, relay.remembers);
        let Relay::Watermark(kept) = self.scheme.relay else {
            if remembers < state.db {
                let redis = self.invalidated(redis, state.db);
                step(Event::RelayApplies(state.db), Round::Idle, state.db, redis);
            }
            return;
        };
        if relay.round != Round::Idle && relay.connection != state.connection {
            step(Event::RelayLosesConnection, Round::Idle, remembers, redis);
            return;
        }
        match relay.round {
            Round::Idle => {
                let from = if kept == Position::WithRelay { Some(remembers) } else { redis.position };
                step(Event::RelayBegins(from), Round::Began(from), remembers, redis);
            }
            Round::Began(from) => step(Event::RelayPolls(state.db), Round::Polled(from, state.db), remembers, redis),
            Round::Polled(from, upto) => {
                let unknown = (kept == Position::InRedisUnknownIsCurrent).then_some(upto);
                let behind = from.or(unknown).is_none_or(|from| from < upto);
                let redis = if behind { self.invalidated(redis, upto) } else { redis };
                step(Event::RelayApplies(upto), Round::Applied(upto), remembers, redis);
            }
            Round::Applied(upto) => {
                let redis = Redis { position: Some(upto), ..redis };
                step(Event::RelaySetsPosition(upto), Round::Positioned(upto), remembers, redis);
            }
            Round::Positioned(upto) => {
                let redis = Redis { watermark: Some(upto), ..redis };
                let remembers = if kept == Position::WithRelay { upto } else { 0 };
                step(Event::RelaySetsWatermark(upto), Round::Idle, remembers, redis);
            }
        }
    }

    /// What ends by itself, at any time: clocks are abstracted.
    fn time(&self, state: &State, steps: &mut Vec<Step>) {
        let redis = state.redis;
        if redis.watermark.is_some() {
            let to = State { redis: Redis { watermark: None, ..redis }, ..*state };
            steps.push(Step { event: Event::WatermarkEnds, to });
        }
        if redis.tombstone {
            let to = State { redis: Redis { tombstone: false, ..redis }, ..*state };
            steps.push(Step { event: Event::TombstoneEnds, to });
        }
        if self.window
            && let Some(watermark) = redis.watermark
        {
            let to = State { window: Some(watermark), ..*state };
            steps.push(Step { event: Event::WindowOpens(watermark), to });
        }
        if state.window.is_some() {
            steps.push(Step { event: Event::WindowEnds, to: State { window: None, ..*state } });
        }
    }

    fn may_fail(&self, state: &State, fault: Fault) -> bool {
        state.faults < self.at_most && self.faults.contains(&fault)
    }

    fn fault(&self, state: &State, steps: &mut Vec<Step>) {
        let mut step = |fault, redis, broken| {
            let connection = state.connection + u8::from(broken);
            let window = if broken { None } else { state.window };
            let to = State { redis, connection, window, faults: state.faults + 1, ..*state };
            steps.push(Step { event: Event::Fault(fault), to });
        };
        if self.may_fail(state, Fault::Evict) {
            if state.redis.value.is_some() {
                step(Fault::Evict, Redis { value: None, ..state.redis }, false);
            }
            if state.redis.floor.is_some() {
                step(Fault::Evict, Redis { floor: None, ..state.redis }, false);
            }
        }
        if self.may_fail(state, Fault::Flush) {
            step(Fault::Flush, Redis::default(), false);
        }
        if self.may_fail(state, Fault::Restart) {
            step(Fault::Restart, Redis::default(), true);
        }
        if self.may_fail(state, Fault::Restore) {
            match state.saved {
                Some(saved) => step(Fault::Restore, saved, true),
                None => steps.push(Step { event: Event::IsSaved, to: State { saved: Some(state.redis), ..*state } }),
            }
        }
    }
}
