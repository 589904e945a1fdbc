//! The active faults, and which connections each hits.

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

/// Says whether a fault hits the client with this address. It is called on the proxy's thread: once for each open connection when the
/// fault is injected, and once for each new one. It must be quick, because nothing is forwarded meanwhile.
pub type ClientFilter = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;

/// Identifies an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

impl FaultId {
    /// No fault.
    pub(super) const NONE: Self = Self(u64::MAX);
}

struct ActiveFault {
    spec: LinkFault,
    filter: Option<ClientFilter>,
    buckets: Option<[Bucket; 2]>,
}

impl fmt::Debug for ActiveFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(formatter)
    }
}

/// What decides whether a fault hits a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionInfo {
    /// Counted from 0 in the order of acceptance.
    pub(super) number: u64,
    pub(super) address: SocketAddr,
}

/// The active faults.
#[derive(Debug)]
pub(super) struct Faults {
    active: BTreeMap<FaultId, ActiveFault>,
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
        self.active.insert(id, ActiveFault { spec, filter, buckets });
        id
    }

    pub(super) fn remove(&mut self, id: FaultId) -> Option<LinkFault> {
        self.active.remove(&id).map(|active| active.spec)
    }

    pub(super) fn spec(&self, id: FaultId) -> Option<&LinkFault> {
        self.active.get(&id).map(|active| &active.spec)
    }

    /// Whether the port has to refuse all connections.
    pub(super) fn refuse_all(&self) -> bool {
        self.active.values().any(|active| {
            active.spec.kind == LinkFaultKind::Refuse
                && active.spec.connection_scope != ConnectionScope::Live
                && active.spec.share >= 1.0
                && active.filter.is_none()
        })
    }

    /// The faults that hit a new connection.
    pub(super) fn for_new(&self, info: ConnectionInfo) -> Vec<FaultId> {
        let hits = |(id, active): &(&FaultId, &ActiveFault)| {
            active.spec.connection_scope != ConnectionScope::Live && self.chooses(**id, active, info)
        };
        self.active.iter().filter(hits).map(|(id, _)| *id).collect()
    }

    /// Whether a fault that was just added hits an open connection.
    pub(super) fn hits_live(&self, id: FaultId, info: ConnectionInfo) -> bool {
        self.active.get(&id).is_some_and(|active| {
            active.spec.connection_scope != ConnectionScope::New
                && active.spec.kind != LinkFaultKind::Refuse
                && self.chooses(id, active, info)
        })
    }

    /// The draw depends only on the seed, the fault and the number of the connection, so that a run can be repeated.
    fn chooses(&self, id: FaultId, active: &ActiveFault, info: ConnectionInfo) -> bool {
        if active.filter.as_ref().is_some_and(|filter| !filter(info.address)) {
            return false;
        }
        active.spec.share >= 1.0 || {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(id.0);
            // A draw uses two words of the stream.
            rng.set_word_pos(u128::from(info.number) * 2);
            rng.random::<f64>() < active.spec.share
        }
    }

    /// A generator for the jitter of one direction of a connection.
    pub(super) fn jitter(&self, number: u64, flow: Flow) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        // The upper half of the streams; `chooses` uses the lower half.
        rng.set_stream((1 << 63) | (number << 1) | flow as u64);
        rng
    }

    /// The combined effect of some faults on one direction.
    pub(super) fn conditions(&self, ids: &[FaultId], flow: Flow) -> Conditions {
        let mut conditions = Conditions::default();
        for (id, spec) in ids.iter().filter_map(|id| self.spec(*id).map(|spec| (*id, spec))) {
            if !acts_on(spec.direction, flow) {
                continue;
            }
            match spec.kind {
                LinkFaultKind::Latency { delay, jitter } => conditions.delays.push((delay, jitter)),
                LinkFaultKind::Bandwidth { .. } => conditions.bandwidths.push(id),
                LinkFaultKind::BlackHole => conditions.black_hole = true,
                LinkFaultKind::Slice { size, gap } => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX).max(1);
                    let (before, longest) = conditions.slice.unwrap_or((usize::MAX, gap));
                    conditions.slice = Some((size.min(before), gap.max(longest)));
                }
                LinkFaultKind::Refuse | LinkFaultKind::Reset | LinkFaultKind::HalfOpen => {}
            }
        }
        conditions
    }

    /// Reserves up to `wanted` bytes on each of these bandwidth faults. Returns how many were reserved, and when they may be sent.
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

/// Whether a fault in `direction` acts on the bytes of `flow`.
pub(super) fn acts_on(direction: Direction, flow: Flow) -> bool {
    match direction {
        Direction::Both => true,
        Direction::ToServer => flow == Flow::ToServer,
        Direction::ToClient => flow == Flow::ToClient,
    }
}
