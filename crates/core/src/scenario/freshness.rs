//! What a scenario says about freshness.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Method, Request, Scenario, TargetSpec, VersionSpec};
use crate::journal::{CachePath, WrongKind};

/// How stale answers are investigated.
#[derive(Clone, Debug, PartialEq)]
pub struct FreshnessSpec {
    /// How long an app may take until a write shows everywhere: what is stale no longer than this is transient.
    pub settle: Duration,
    /// How long the app keeps an answer at most, where the scenario says so.
    pub ttl: Option<Duration>,
    /// Most probe reads, as a share of the requests sent.
    pub probes: f64,
}

impl Default for FreshnessSpec {
    fn default() -> Self {
        Self { settle: Duration::from_secs(1), ttl: None, probes: 0.01 }
    }
}

/// How a list's items are compared with the writes of these items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSpec {
    /// Address of its items, as in the requests that write them: `/posts/{post}`.
    pub of: String,
    /// JSON field of the array; `None`: the body itself is the array.
    pub items: Option<String>,
    /// Field of an item that holds its key.
    pub id: String,
    /// Field of an item that holds its version. `None`: only deleted items are looked for.
    pub version: Option<String>,
}

impl Request {
    /// Whether its body holds `{version}`, so that cacheproof and not the app numbers the versions.
    pub fn assigns_version(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.contains("{version}"))
    }

    /// Whether each such write sends something new.
    pub fn varies(&self) -> bool {
        let body = self.body.as_deref().unwrap_or_default();
        ["{random}", "{token}", "{version}"].iter().any(|part| body.contains(part))
    }

    /// Whether it changes an item whose later reads can be compared with it.
    pub fn changes_item(&self) -> bool {
        !self.method.is_read() && self.item.is_some()
    }
}

impl Scenario {
    /// Whether what happens in a phase, by its index, is judged: in a warm-up it is not.
    pub fn is_judged(&self, phase: usize) -> bool {
        self.phases.get(phase).is_some_and(|phase| !phase.warm_up)
    }

    /// Whether freshness is judged by versions; without, only by comparing answers while no request is in flight.
    pub fn has_versions(&self) -> bool {
        self.target.version.is_some()
    }

    /// Whether cacheproof and not the app numbers the versions of the items with these paths.
    pub fn assigns_versions(&self, template: &str) -> bool {
        let assigns = |request: &Request| request.is_of(template) && request.assigns_version();
        self.has_versions() && self.traffic.requests.iter().any(assigns)
    }

    /// Whether cached and uncached answers are compared at the end of each cached phase: answers carry no version,
    /// something is written, and there is a way past the cache.
    pub fn compares_at_quiescence(&self) -> bool {
        !self.has_versions()
            && self.target.bypass.is_some()
            && self.traffic.requests.iter().any(|read| {
                self.traffic
                    .requests
                    .iter()
                    .any(|write| read.method.is_read() && write.changes_item() && read.template() == write.template())
            })
    }

    /// Whether they are compared after this phase: it goes through the cache, and is judged.
    pub fn compares_after(&self, phase: usize) -> bool {
        self.compares_at_quiescence()
            && self.phases.get(phase).is_some_and(|phase| phase.path == CachePath::Cached && !phase.warm_up)
    }

    /// Whether the body of an answer to a request, by its index, is looked into.
    pub fn reads_body(&self, request: usize) -> bool {
        let target = &self.target;
        let of_request = self.traffic.requests.get(request).is_some_and(|request| {
            let names = target.identity.is_some() && (request.item.is_some() || request.method == Method::Post);
            names || request.owner.is_some() || request.list.is_some()
        });
        of_request
            || matches!(target.version, Some(VersionSpec::Json(_)))
            || !target.tokens.is_empty()
            || target.hit.json.is_some()
            || self.compares_at_quiescence()
    }

    /// Addresses of the items that something writes, each once.
    pub fn written_templates(&self) -> BTreeSet<&str> {
        self.traffic.requests.iter().filter(|request| request.changes_item()).filter_map(Request::template).collect()
    }

    /// Whether an answer to this request can be seen to be wrong in this way; `None`: in any.
    pub fn can_be_wrong(&self, request: &Request, kind: Option<WrongKind>) -> bool {
        let can = |kind| can_be_wrong(&self.target, &self.traffic.requests, request, kind);
        kind.map_or_else(|| WrongKind::ALL.into_iter().any(can), can)
    }
}

/// Whether answers to `request` can be seen to be wrong in this way.
pub(super) fn can_be_wrong(target: &TargetSpec, requests: &[Request], request: &Request, kind: WrongKind) -> bool {
    let tokens = !target.tokens.is_empty() && request.has_identity();
    let is_written = |write: &Request| write.changes_item() && write.template() == request.template();
    match kind {
        WrongKind::OtherItem => tokens || (target.identity.is_some() && request.has_identity()),
        WrongKind::OtherUser => request.owner.is_some(),
        WrongKind::Torn => tokens && target.tokens.len() > 1,
        WrongKind::NeverWritten => {
            let assigned = |write: &Request| is_written(write) && write.assigns_version();
            tokens || (target.version.is_some() && request.method.is_read() && requests.iter().any(assigned))
        }
        WrongKind::Lost => {
            request.method.is_read() && requests.iter().any(|write| write.writes_item() && is_written(write))
        }
    }
}
