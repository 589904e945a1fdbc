//! Whether the scenario does what a metric counts. Each [`Requirement`] of a metric's row is checked here, first on the
//! scenario as a whole, then on the request that the rule names.

use std::time::Duration;

use super::freshness::can_be_wrong;
use super::resolve::RuleContext;
use super::{CacheKind, Phase, Request, TargetKind, Term};
use crate::journal::{CachePath, WrongKind};
use crate::metrics::{MeasuredOn, Requirement};

/// How long after the TTL of a stale answer it is looked at again.
const RECHECK_DELAY: Duration = Duration::from_secs(1);

/// How a request names the item that it reads or writes.
const WHAT_NAMES_AN_ITEM: &str = "a path names an item by one key in its last segment, as in get = \"/posts/{post}\"; \
                                  where the key stands elsewhere, write item = \"/posts/{post}\" into the request";

/// What is missing, and what to do about it.
pub(super) type Refusal = (String, String);

fn refusal(message: impl Into<String>, help: impl Into<String>) -> Refusal {
    (message.into(), help.into())
}

impl RuleContext<'_> {
    /// What the scenario as a whole lacks for a metric to mean something. More than one problem only with faults.
    pub(super) fn check_requirements(&self, term: &Term) -> Vec<Refusal> {
        let requires = term.metric.definition().requires;
        let mut refusals = Vec::new();
        if requires.contains(&Requirement::FaultAfterBaseline) {
            refusals = self.check_faults(term);
        }
        refusals.extend(requires.iter().find_map(|one| self.check_requirement(*one, term)));
        refusals
    }

    /// What the named request lacks.
    pub(super) fn check_request(&self, term: &Term, request: &Request) -> Option<Refusal> {
        let metric = term.metric;
        if metric.definition().measured_on != MeasuredOn::Responses {
            return Some(refusal(format!("{metric} cannot be told apart by request"), "leave \"for\" out"));
        }
        metric.definition().requires.iter().find_map(|requirement| match requirement {
            Requirement::CacheableRequest => self.check_cacheable(term, request),
            Requirement::CheckedAnswers(kind) => self.check_checked(request, *kind),
            Requirement::WrittenItem => self.check_written(request),
            Requirement::Write => self.check_write(request),
            Requirement::Cache => (!request.method.is_read()).then(|| {
                let message = format!("\"{}\" is not a read, and only reads fall back", request.name);
                refusal(message, "name a request with get")
            }),
            _ => None,
        })
    }

    fn check_requirement(&self, requirement: Requirement, term: &Term) -> Option<Refusal> {
        let target = self.target;
        match requirement {
            Requirement::Redis => {
                self.stack.redis.is_none().then(|| refusal("there is no Redis to ask", "add [stack.redis]"))
            }
            Requirement::Postgres => {
                self.stack.postgres.is_none().then(|| refusal("there is no database to ask", "add [stack.postgres]"))
            }
            Requirement::StartedApp => (!target.is_started()).then(|| {
                refusal("the app is not started by cacheproof", "add start = [\"…\"] to [target] or leave the rule out")
            }),
            Requirement::Cache => self.check_fallback(),
            Requirement::CachedPath => self
                .is_uncached(term)
                .then(|| refusal("requests past the cache are neither hits nor misses", "measure it on cached")),
            Requirement::CacheableRequest => (!self.requests.iter().any(|request| request.cacheable))
                .then(|| refusal("no request is cacheable", "add a [[traffic.request]] with get")),
            // Checked with everything that is wrong about the faults.
            Requirement::FaultAfterBaseline => None,
            Requirement::VersionOrBypass => (target.version.is_none() && target.bypass.is_none())
                .then(|| refusal("answers carry no version", "say where it is: version = \"version\" in [target]")),
            Requirement::Version => target.version.is_none().then(|| {
                refusal(
                    "answers carry no version, so stale ones can be counted (\"stale\") but not told apart",
                    "say where it is: version = \"version\" in [target]",
                )
            }),
            Requirement::VersionOrTokens => (target.version.is_none() && target.tokens.is_empty()).then(|| {
                refusal(
                    "answers do not tell which write they show",
                    "say in [target] where the version is (version = \"version\"), or the token of a write (tokens = [\"title\"])",
                )
            }),
            Requirement::Bypass => target.bypass.is_none().then(|| {
                refusal(
                    "there is no way to look past the cache",
                    "say how in [target]: bypass = { header = \"Cache-Control: no-store\" }",
                )
            }),
            Requirement::Ttl => self.check_ttl(),
            Requirement::WrittenItem | Requirement::Write => self.check_items_are_written(),
            Requirement::CheckedAnswers(Some(kind)) => self.check_kind_can_be_wrong(kind),
            Requirement::CheckedAnswers(None) => self.check_any_can_be_wrong(),
        }
    }

    /// Whether an answer can say that the app fell back.
    fn check_fallback(&self) -> Option<Refusal> {
        let target = self.target;
        if target.kind != TargetKind::Http {
            return (target.cache == CacheKind::None)
                .then(|| refusal("the target has no cache to fall back from", "set cache = \"redis\" in [target]"));
        }
        (!target.hit.may_signal_fallback()).then(|| {
            refusal(
                "no value in [target.hit] means that the app fell back",
                "add the value that the app sends then: fallback = [\"FALLBACK\"] in [target.hit]; or leave \
                 [target.hit] out if the app sends Cache-Status: …; fwd=bypass; detail=fallback",
            )
        })
    }

    /// Whether all requests of the term go past the cache.
    fn is_uncached(&self, term: &Term) -> bool {
        let phase = term.phase.and_then(|index| self.phases.get(index));
        term.path == Some(CachePath::Uncached) || phase.is_some_and(|phase| phase.path == CachePath::Uncached)
    }

    fn check_ttl(&self) -> Option<Refusal> {
        let Some(ttl) = self.freshness.ttl else {
            return Some(refusal(
                "how long the app keeps an answer is not known",
                "say so: ttl = \"60s\" in [freshness]",
            ));
        };
        let whole: Duration = self.phases.iter().map(|phase| phase.lasts).sum();
        (!self.phases.is_empty() && whole < ttl + RECHECK_DELAY).then(|| {
            let (whole, ttl) = (whole.as_secs_f64(), ttl.as_secs_f64());
            refusal(
                format!(
                    "the timeline is {whole} s long, and whether an answer outlives its TTL of {ttl} s shows a second \
                     later: this could never fail"
                ),
                "let the phases together last longer than that, or run the app with a shorter TTL",
            )
        })
    }

    /// Whether any item that is read is also written.
    fn check_items_are_written(&self) -> Option<Refusal> {
        if self.requests.is_empty() || self.requests.iter().any(|one| self.is_written(one)) {
            return None;
        }
        if self.requests.iter().all(|request| request.method.is_read()) {
            return Some(refusal(
                "nothing is ever written, so nothing can be stale",
                "add a [[traffic.request]] with put or patch",
            ));
        }
        let message = "no item that is read is also written, so no answer can be seen to be stale";
        let read = self.requests.iter().filter(|one| one.method.is_read()).find_map(Request::template);
        let written = self.requests.iter().filter(|one| one.changes_item()).find_map(Request::template);
        let help = match (read, written) {
            (Some(read), Some(written)) => format!(
                "\"{read}\" is read and \"{written}\" is written: if both are the same item, write item = \"{written}\" \
                 into the request with get"
            ),
            (Some(read), None) => format!(
                "write it by the same path, put = \"{read}\" (or patch), or say which item a write by another path \
                 changes: item = \"{read}\""
            ),
            (None, _) => format!("no get names an item: {WHAT_NAMES_AN_ITEM}"),
        };
        Some(refusal(message, help))
    }

    fn check_kind_can_be_wrong(&self, kind: WrongKind) -> Option<Refusal> {
        if self.requests.is_empty() || self.requests.iter().any(|request| self.can_be_wrong(request, kind)) {
            return None;
        }
        let help = match kind {
            WrongKind::OtherItem => "say where an item's key is: identity = \"id\" in [target]",
            WrongKind::OtherUser => {
                "say who asks and whose the answer is: headers = { \"X-User\" = \"{user}\" } and owner = \"user\""
            }
            WrongKind::NeverWritten | WrongKind::Torn => {
                "write {token} into two fields of a body, and name them: tokens = [\"title\", \"body\"] in [target]"
            }
            WrongKind::Lost => {
                "write and read an item by the same path, with put (or patch) and get, or say which item it is with item"
            }
        };
        Some(refusal("no answer can be seen to be wrong in this way", help))
    }

    fn check_any_can_be_wrong(&self) -> Option<Refusal> {
        if self.requests.iter().any(|request| self.can_be_wrong(request, WrongKind::OtherUser)) {
            return None;
        }
        if self.target.identity.is_none() {
            return Some(refusal(
                "answers cannot be told apart",
                "say where an item's key is: identity = \"id\" in [target]",
            ));
        }
        (!self.requests.is_empty() && !self.requests.iter().any(Request::has_identity))
            .then(|| refusal("no request names an item, so no answer can be another's", WHAT_NAMES_AN_ITEM))
    }

    fn check_cacheable(&self, term: &Term, request: &Request) -> Option<Refusal> {
        (!request.cacheable).then(|| {
            let cacheable = self.requests.iter().filter(|one| one.cacheable).map(|one| one.name.as_str());
            refusal(
                format!("{} does not count \"{}\", which is not cacheable", term.metric, request.name),
                format!("cacheable requests: {}", cacheable.collect::<Vec<_>>().join(", ")),
            )
        })
    }

    fn check_checked(&self, request: &Request, kind: Option<WrongKind>) -> Option<Refusal> {
        let name = &request.name;
        match kind {
            Some(kind) => (!self.can_be_wrong(request, kind)).then(|| {
                refusal(format!("no answer to \"{name}\" can be seen to be wrong in this way"), "leave \"for\" out")
            }),
            None => (!WrongKind::ALL.into_iter().any(|kind| self.can_be_wrong(request, kind))).then(|| {
                refusal(
                    format!("\"{name}\" names no item, so its answers cannot be another's"),
                    format!("name a request that names an item: {WHAT_NAMES_AN_ITEM}"),
                )
            }),
        }
    }

    /// A lost update is counted at the write.
    fn check_write(&self, request: &Request) -> Option<Refusal> {
        let writes: Vec<&str> =
            self.requests.iter().filter(|one| !one.method.is_read()).map(|one| one.name.as_str()).collect();
        request.method.is_read().then(|| {
            refusal(
                format!("\"{}\" is a read, and updates are lost by writes", request.name),
                format!("name a request that writes: {}", writes.join(", ")),
            )
        })
    }

    fn check_written(&self, request: &Request) -> Option<Refusal> {
        let name = &request.name;
        if !request.method.is_read() {
            return Some(refusal(
                format!("\"{name}\" is not a read, so it cannot be stale"),
                "name a request with get",
            ));
        }
        // Where nothing at all is written, that has been said.
        let elsewhere = self.requests.iter().any(|one| self.is_written(one));
        (!self.is_written(request) && elsewhere).then(|| {
            refusal(
                format!("what \"{name}\" reads is never written by the same path, so it cannot be seen to be stale"),
                match request.template() {
                    Some(path) => format!(
                        "add a [[traffic.request]] with put = \"{path}\" (or patch), or say which item it reads: \
                         item = \"the path by which it is written\""
                    ),
                    None => format!("name a request with get that names an item: {WHAT_NAMES_AN_ITEM}"),
                },
            )
        })
    }

    /// Whether an item that the request reads is also written, so that its answers can be stale.
    fn is_written(&self, read: &Request) -> bool {
        let reads = |template: &str| read.is_of(template) || read.list.as_ref().is_some_and(|list| list.of == template);
        let is_written = |write: &Request| write.changes_item() && write.template().is_some_and(reads);
        read.method.is_read() && self.requests.iter().any(is_written)
    }

    fn can_be_wrong(&self, request: &Request, kind: WrongKind) -> bool {
        can_be_wrong(self.target, self.requests, request, kind)
    }

    /// Whether there is a fault to measure on, and before it a phase without one that says what is normal.
    fn check_faults(&self, term: &Term) -> Vec<Refusal> {
        let has_fault = |phase: &&Phase| {
            !phase.faults.is_empty() && !phase.warm_up && term.path.is_none_or(|only| only == phase.path)
        };
        let names: Vec<&str> = self.phases.iter().filter(has_fault).map(|phase| phase.name.as_str()).collect();
        let named = term.phase.and_then(|index| self.phases.get(index));
        let mut refusals = Vec::new();
        match named {
            None if names.is_empty() && self.phases.iter().any(|phase| !phase.faults.is_empty()) => {
                let path = term.path.map_or("judged", CachePath::as_str);
                refusals.push(refusal(
                    format!("nothing is broken in a phase that is {path}"),
                    "leave \"on\" out, or add a fault to a judged [[phase]] with that path",
                ));
            }
            _ if names.is_empty() => refusals.push(refusal(
                "nothing is ever broken",
                "add fault = { kill = \"redis\", after = \"2s\" } to a [[phase]], or leave the rule out",
            )),
            Some(phase) if phase.faults.is_empty() => refusals.push(refusal(
                format!("nothing is broken in \"{}\"", phase.name),
                format!("phases with a fault: {}", names.join(", ")),
            )),
            _ => {}
        }
        let first_fault = self.phases.iter().position(|phase| !phase.faults.is_empty()).unwrap_or(0);
        let is_measured = |phase: &Phase| has_fault(&phase) && named.is_none_or(|one| one.name == phase.name);
        for path in [CachePath::Cached, CachePath::Uncached] {
            let is_wanted = self.phases.iter().any(|phase| is_measured(phase) && phase.path == path);
            let is_baseline = |phase: &Phase| phase.path == path && !phase.warm_up;
            let has_baseline = self.phases.iter().take(first_fault).any(is_baseline);
            if is_wanted && !has_baseline && term.path.is_none_or(|only| only == path) {
                let path = path.as_str();
                refusals.push(refusal(
                    "what is normal is measured before the first fault, and nothing is measured there",
                    format!("add a judged [[phase]] with path = \"{path}\" and without a fault before the first fault"),
                ));
            }
        }
        refusals
    }
}
