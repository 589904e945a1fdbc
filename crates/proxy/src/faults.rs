//! The faults that are in force, and whom each hits.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::conditions::{Bucket, Conditions};
use super::link::Flow;
use cacheproof_core::scenario::{ConnectionScope, Direction, LinkFault, LinkFaultKind};

/// Says which clients a fault hits, by the address that they connect from. It is asked on the proxy's own thread, while nothing else passes: once
/// for each open connection when the fault is injected, and once for each that comes. It must be quick.
pub type ClientFilter = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;

/// Names a fault that was injected, to remove it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

impl FaultId {
    /// Names none.
    pub(super) const NONE: Self = Self(u64::MAX);
}

struct Active {
    spec: LinkFault,
    filter: Option<ClientFilter>,
    buckets: Option<[Bucket; 2]>,
}

impl fmt::Debug for Active {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(formatter)
    }
}

/// A connection, as far as faults choose by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionInfo {
    /// Counted from 0 in the order of acceptance.
    pub(super) number: u64,
    pub(super) address: SocketAddr,
}

/// All that are in force.
#[derive(Debug)]
pub(super) struct Faults {
    active: BTreeMap<FaultId, Active>,
    next: u64,
    seed: u64,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { active: BTreeMap::new(), next: 0, seed }
    }

    pub(super) fn add(&mut self, spec: LinkFault, filter: Option<ClientFilter>) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        let buckets = match spec.kind {
            LinkFaultKind::Bandwidth { bytes } => Some([Bucket::new(bytes), Bucket::new(bytes)]),
            _ => None,
        };
        self.active.insert(id, Active { spec, filter, buckets });
        id
    }

    pub(super) fn remove(&mut self, id: FaultId) -> Option<LinkFault> {
        self.active.remove(&id).map(|active| active.spec)
    }

    pub(super) fn spec(&self, id: FaultId) -> Option<&LinkFault> {
        self.active.get(&id).map(|active| &active.spec)
    }

    /// Whether the port is to refuse everybody.
    pub(super) fn refuse_everybody(&self) -> bool {
        self.active.values().any(|active| {
            active.spec.kind == LinkFaultKind::Refuse
                && active.spec.connection_scope != ConnectionScope::Live
                && active.spec.share >= 1.0
                && active.filter.is_none()
        })
    }

    /// Those that hit a connection which is just being made.
    pub(super) fn for_new(&self, info: ConnectionInfo) -> Vec<FaultId> {
        let hits = |(id, active): &(&FaultId, &Active)| {
            active.spec.connection_scope != ConnectionScope::Live && self.chooses(**id, active, info)
        };
        self.active.iter().filter(hits).map(|(id, _)| *id).collect()
    }

    /// Whether one that was just added hits a connection which is open.
    pub(super) fn hits_live(&self, id: FaultId, info: ConnectionInfo) -> bool {
        self.active.get(&id).is_some_and(|active| {
            active.spec.connection_scope != ConnectionScope::New
                && active.spec.kind != LinkFaultKind::Refuse
                && self.chooses(id, active, info)
        })
    }

    /// The draw depends on the seed, the fault and the connection's number only: the same seed draws the same, whatever else happens.
    fn chooses(&self, id: FaultId, active: &Active, info: ConnectionInfo) -> bool {
        if active.filter.as_ref().is_some_and(|filter| !filter(info.address)) {
            return false;
        }
        active.spec.share >= 1.0 || {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(id.0);
            // A draw takes two words of the stream.
            rng.set_word_pos(u128::from(info.number) * 2);
            rng.random::<f64>() < active.spec.share
        }
    }

    /// A generator for the jitter of one direction of a connection.
    pub(super) fn jitter(&self, number: u64, flow: Flow) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        // The upper half of the streams: the lower has the draws above.
        rng.set_stream((1 << 63) | (number << 1) | flow as u64);
        rng
    }

    /// What the faults in `hit` amount to in one direction.
    pub(super) fn conditions(&self, hit: &[FaultId], flow: Flow) -> Conditions {
        let mut sum = Conditions::default();
        for (id, spec) in hit.iter().filter_map(|id| self.spec(*id).map(|spec| (*id, spec))) {
            if !concerns(spec.direction, flow) {
                continue;
            }
            match spec.kind {
                LinkFaultKind::Latency { delay, jitter } => sum.delays.push((delay, jitter)),
                LinkFaultKind::Bandwidth { .. } => sum.bandwidths.push(id),
                LinkFaultKind::BlackHole => sum.black_hole = true,
                LinkFaultKind::Slice { size, gap } => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX).max(1);
                    let (before, longest) = sum.slice.unwrap_or((usize::MAX, gap));
                    sum.slice = Some((size.min(before), gap.max(longest)));
                }
                LinkFaultKind::Refuse | LinkFaultKind::Reset | LinkFaultKind::HalfOpen => {}
            }
        }
        sum
    }

    /// Reserves up to `wanted` bytes on each of these: when so many may pass.
    pub(super) fn reserve(&mut self, ids: &[FaultId], flow: Flow, wanted: usize, now: Instant) -> (usize, Instant) {
        let mut buckets: Vec<_> = Vec::with_capacity(ids.len());
        for (id, active) in &mut self.active {
            if ids.contains(id)
                && let Some(pair) = &mut active.buckets
            {
                buckets.push(&mut pair[flow as usize]);
            }
        }
        let bytes = buckets.iter().map(|bucket| bucket.max_reservation()).fold(wanted, usize::min);
        let when = buckets.into_iter().map(|bucket| bucket.reserve(bytes, now)).fold(now, Instant::max);
        (bytes, when)
    }
}

/// Whether a fault in `direction` has to do with the bytes of `flow`.
pub(super) fn concerns(direction: Direction, flow: Flow) -> bool {
    match direction {
        Direction::Both => true,
        Direction::ToServer => flow == Flow::ToServer,
        Direction::ToClient => flow == Flow::ToClient,
    }
}
