//! Rules against the scenario they stand in: names become indices, and a rule on something that the scenario
//! never does, or that could never fail, is refused.

use std::ops::Range;
use std::time::Duration;

use super::freshness::can_be_wrong;
use super::grammar::{LimitTree, RuleTree, TermTree};
use super::problem::known_names;
use super::{
    CacheKind, FreshnessSpec, Limit, Metric, Op, Phase, Quantity, Request, Rule, StackSpec, TargetKind, TargetSpec,
    Term,
};
use crate::journal::{CachePath, StaleKind, WrongKind};

/// What a rule is checked against.
pub(super) struct RuleContext<'a> {
    pub(super) stack: &'a StackSpec,
    pub(super) target: &'a TargetSpec,
    pub(super) requests: &'a [Request],
    pub(super) freshness: &'a FreshnessSpec,
    pub(super) phases: &'a [Phase],
}

/// What is wrong with a rule, and which part of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleProblem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

impl RuleProblem {
    fn new(span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span: span.clone(), message: message.into(), help: help.into() }
    }
}

/// Kinds of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dimension {
    Time,
    Share,
    Count,
    /// A count, or a share of the requests when held against a percentage.
    CountOrShare,
    Rate,
    Bytes,
    /// Bytes, or a share of what is allotted.
    BytesOrShare,
    /// Bytes, or a share of where it began.
    Growth,
}

impl Dimension {
    fn of(metric: Metric) -> Self {
        match metric {
            Metric::ResponsePercentile(_) | Metric::ServicePercentile(_) | Metric::Mean | Metric::Max => Self::Time,
            Metric::StaleAge(_) | Metric::StaleAgeMax => Self::Time,
            Metric::Recovery | Metric::Notice | Metric::HitRateRecovery | Metric::Refill => Self::Time,
            Metric::Throughput => Self::Rate,
            Metric::Availability | Metric::HitRate => Self::Share,
            Metric::Errors | Metric::Fallbacks | Metric::Stale | Metric::StaleOf(_) | Metric::NonMonotonic => {
                Self::CountOrShare
            }
            Metric::RedisMemory => Self::BytesOrShare,
            Metric::AppMemory | Metric::LogBytesPerRequest => Self::Bytes,
            Metric::AppMemoryGrowth => Self::Growth,
            Metric::Requests
            | Metric::Hits
            | Metric::Misses
            | Metric::WrongAnswers
            | Metric::WrongOf(_)
            | Metric::DbQueries
            | Metric::DbQueriesPerRequest
            | Metric::Evictions
            | Metric::AppFiles
            | Metric::AppFilesGrowth
            | Metric::RedisClients
            | Metric::RedisClientsGrowth
            | Metric::DbConnections
            | Metric::DbConnectionsGrowth => Self::Count,
        }
    }

    fn accepts(self, value: Quantity) -> bool {
        match value {
            Quantity::Time(_) => self == Self::Time,
            Quantity::Share(_) => matches!(self, Self::Share | Self::CountOrShare | Self::BytesOrShare | Self::Growth),
            Quantity::Count(_) => matches!(self, Self::Count | Self::CountOrShare),
            Quantity::Bytes(_) => matches!(self, Self::Bytes | Self::BytesOrShare | Self::Growth),
            Quantity::Rate(_) => self == Self::Rate,
        }
    }

    /// Whether two metrics can be held against each other.
    fn is_comparable_with(self, other: Self) -> bool {
        let plain = |dimension| match dimension {
            Self::CountOrShare => Self::Count,
            Self::BytesOrShare | Self::Growth => Self::Bytes,
            plain => plain,
        };
        plain(self) == plain(other)
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Time => "a time, e.g. 150ms",
            Self::Share => "a percentage, e.g. 60%",
            Self::Count => "a plain number, e.g. 0",
            Self::CountOrShare => "a number or a percentage of the requests, e.g. 0 or 1%",
            Self::Rate => "a rate, e.g. 400/s",
            Self::Bytes => "a size, e.g. 64mb",
            Self::BytesOrShare => "a size or a percentage of maxmemory, e.g. 64mb or 80%",
            Self::Growth => "a size or a percentage of where it began, e.g. 20mb or 20%",
        }
    }
}

/// Turns the tree into a rule, or says all that is wrong with it.
pub(super) fn resolve(text: &str, tree: &RuleTree, context: &RuleContext<'_>) -> Result<Rule, Vec<RuleProblem>> {
    let mut refusals = Vec::new();
    let term = context.term(&tree.term, &mut refusals);
    let dimension = Dimension::of(tree.term.metric);
    let limit = match &tree.limit {
        LimitTree::Value(value, span) => {
            check_value(tree, *value, span, dimension, &mut refusals);
            Limit::Value(*value)
        }
        LimitTree::Of(factor, other) => {
            let other_term = context.term(other, &mut refusals);
            let other_dimension = Dimension::of(other.metric);
            if !dimension.is_comparable_with(other_dimension) {
                let message = format!("{} and {} cannot be compared", tree.term.metric, other.metric);
                let help = format!(
                    "{} is {}; {} is {}",
                    tree.term.metric,
                    dimension.describe(),
                    other.metric,
                    other_dimension.describe()
                );
                refusals.push(RuleProblem::new(&other.span, message, help));
            } else if term == other_term && refusals.is_empty() {
                let help = "name another path, request or phase on one of the sides";
                refusals.push(RuleProblem::new(&other.span, "both sides are the same measurement", help));
            } else if refusals.is_empty() {
                refusals.extend(context.check_comparison(&term, &other_term, &other.span));
            }
            Limit::Of { factor: *factor, term: other_term }
        }
    };
    if refusals.is_empty() { Ok(Rule { text: text.to_owned(), term, op: tree.op, limit }) } else { Err(refusals) }
}

fn check_value(
    tree: &RuleTree,
    value: Quantity,
    span: &Range<usize>,
    dimension: Dimension,
    refusals: &mut Vec<RuleProblem>,
) {
    let metric = tree.term.metric;
    if !dimension.accepts(value) {
        let message = format!("{metric} is not {}", value.kind());
        refusals.push(RuleProblem::new(span, message, format!("compare {metric} with {}", dimension.describe())));
        return;
    }
    let (number, most) = match value {
        Quantity::Time(time) => (time.as_secs_f64(), None),
        // Memory may go beyond its limit, parts of a whole may not.
        Quantity::Share(share) => {
            (share, (!matches!(metric, Metric::RedisMemory | Metric::AppMemoryGrowth)).then_some(1.0))
        }
        Quantity::Count(number) | Quantity::Rate(number) => (number, None),
        Quantity::Bytes(bytes) => (bytes as f64, None),
    };
    let above = |most: f64| number > most;
    let reaches = |most: f64| number >= most;
    let never_fails = match tree.op {
        Op::AtLeast => number == 0.0,
        Op::AtMost => most.is_some_and(reaches),
        Op::Less | Op::NotEqual => most.is_some_and(above),
        Op::Equal | Op::More => false,
    };
    let never_holds = match tree.op {
        Op::Less => number == 0.0,
        Op::More => most.is_some_and(reaches),
        Op::AtLeast | Op::Equal => most.is_some_and(above),
        Op::AtMost | Op::NotEqual => false,
    };
    if never_fails || never_holds {
        let message = if never_fails { "this rule could never fail" } else { "this rule could never hold" };
        let range = if most.is_some() { "from 0% to 100%" } else { "0 or more" };
        refusals.push(RuleProblem::new(
            span,
            message,
            format!("{metric} is always {range}: take a value that can be missed"),
        ));
    }
}

/// Whether two sides of a comparison are counted and not measured as shares: twice the time, twice the count.
fn is_absolute_count(metric: Metric) -> bool {
    matches!(metric, Metric::Requests | Metric::DbQueries | Metric::Evictions)
}

/// Whether it is a share of the requests as soon as it is held against another metric.
fn is_share_in_comparison(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Errors
            | Metric::Hits
            | Metric::Misses
            | Metric::Fallbacks
            | Metric::WrongAnswers
            | Metric::WrongOf(_)
            | Metric::Stale
            | Metric::StaleOf(_)
            | Metric::NonMonotonic
    )
}

/// How long after the TTL of a stale answer it is looked at again.
const RECHECK_DELAY: Duration = Duration::from_secs(1);

impl RuleContext<'_> {
    /// How long the timeline is at most.
    fn whole(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }

    /// How long the phases of a term last.
    fn length(&self, term: &Term) -> Duration {
        let all = |phase: &&Phase| !phase.warm_up && term.path.is_none_or(|path| path == phase.path);
        match term.phase.and_then(|index| self.phases.get(index)) {
            Some(phase) => phase.lasts,
            None => self.phases.iter().filter(all).map(|phase| phase.lasts).sum(),
        }
    }

    /// Whether two terms of one kind can be held against each other.
    fn check_comparison(&self, term: &Term, other: &Term, span: &Range<usize>) -> Option<RuleProblem> {
        if is_share_in_comparison(term.metric) != is_share_in_comparison(other.metric) {
            let share = if is_share_in_comparison(term.metric) { term.metric } else { other.metric };
            let message = format!("{} and {} cannot be compared", term.metric, other.metric);
            let help = format!("in a comparison {share} is a share of the requests: compare it with another share");
            return Some(RuleProblem::new(span, message, help));
        }
        let (length, other_length) = (self.length(term), self.length(other));
        if !is_absolute_count(term.metric) && !is_absolute_count(other.metric) || length == other_length {
            return None;
        }
        let message =
            format!("counts of {} s and of {} s cannot be compared", length.as_secs_f64(), other_length.as_secs_f64());
        let help = match term.metric {
            Metric::DbQueries => "use db_queries_per_request: it does not grow with a phase's length",
            Metric::Requests => "use throughput: it does not grow with a phase's length",
            _ => "compare phases that last equally long",
        };
        Some(RuleProblem::new(span, message, help))
    }

    /// Whether an item that the request reads is also written, so that its answers can be stale.
    fn is_written(&self, read: &Request) -> bool {
        let reads =
            |template: &str| read.template() == template || read.list.as_ref().is_some_and(|list| list.of == template);
        read.method.is_read() && self.requests.iter().any(|write| write.changes_item() && reads(write.template()))
    }

    /// Whether answers to any request, or to this one, can be told to be wrong in this way.
    fn can_be_wrong(&self, request: Option<&Request>, kind: WrongKind) -> bool {
        let can = |request: &Request| can_be_wrong(self.target, self.requests, request, kind);
        request.map_or_else(|| self.requests.iter().any(can), can)
    }

    fn term(&self, tree: &TermTree, refusals: &mut Vec<RuleProblem>) -> Term {
        let mut index = |name: &Option<(String, Range<usize>)>, kind: &str, known: Vec<&str>| {
            let (name, span) = name.as_ref()?;
            let found = known.iter().position(|known| known == name);
            if found.is_none() {
                let message = format!("no {kind} is called \"{name}\"");
                refusals.push(RuleProblem::new(span, message, known_names(name, &format!("{kind}s"), known)));
            }
            found
        };
        let request = index(&tree.request, "request", self.requests.iter().map(|one| one.name.as_str()).collect());
        let phase = index(&tree.phase, "phase", self.phases.iter().map(|one| one.name.as_str()).collect());
        let term = Term { metric: tree.metric, path: tree.path.as_ref().map(|(path, _)| *path), request, phase };
        self.check_phases(tree, &term, refusals);
        self.check_metric(tree, &term, refusals);
        term
    }

    /// Whether there is a judged phase that the term can be taken over.
    fn check_phases(&self, tree: &TermTree, term: &Term, refusals: &mut Vec<RuleProblem>) {
        if let Some((phase, (name, span))) =
            term.phase.and_then(|index| self.phases.get(index)).zip(tree.phase.as_ref())
        {
            if phase.warm_up {
                let help = format!("judge a phase behind it: {}", self.judged_names());
                refusals.push(RuleProblem::new(span, format!("\"{name}\" is a warm-up and is not judged"), help));
            }
            if let Some((path, span)) = tree.path.as_ref().filter(|(path, _)| *path != phase.path) {
                let message = format!("nothing goes {} in \"{name}\"", path.as_str());
                let help = format!("all requests of \"{name}\" are {}: leave \"on\" out", phase.path.as_str());
                refusals.push(RuleProblem::new(span, message, help));
            }
        } else if tree.phase.is_none() && !self.phases.is_empty() {
            let fits = |phase: &&Phase| !phase.warm_up && term.path.is_none_or(|path| path == phase.path);
            if !self.phases.iter().any(|phase| fits(&phase)) {
                let (span, what) = match &tree.path {
                    Some((path, span)) => (span, format!("no judged phase is {}", path.as_str())),
                    None => (&tree.span, "no phase is judged".to_owned()),
                };
                let help = match &tree.path {
                    Some((path, _)) => format!("add a [[phase]] with path = \"{}\"", path.as_str()),
                    None => "add a [[phase]] without warm_up".to_owned(),
                };
                refusals.push(RuleProblem::new(span, what, help));
            }
        }
    }

    fn judged_names(&self) -> String {
        let judged: Vec<_> =
            self.phases.iter().filter(|phase| !phase.warm_up).map(|phase| phase.name.as_str()).collect();
        if judged.is_empty() { "there is none yet".to_owned() } else { judged.join(", ") }
    }

    /// Whether there is a fault to measure it on, and a quiet phase before that says what is normal.
    fn check_fault_metric(&self, term: &Term) -> Vec<(String, String)> {
        let broken = |phase: &&Phase| !phase.faults.is_empty() && !phase.warm_up;
        let names: Vec<&str> = self.phases.iter().filter(broken).map(|phase| phase.name.as_str()).collect();
        let mut refusals = Vec::new();
        match term.phase.and_then(|index| self.phases.get(index)) {
            _ if names.is_empty() => {
                let help = "add fault = { kill = \"redis\", after = \"2s\" } to a [[phase]], or leave the rule out";
                refusals.push(("nothing is ever broken".to_owned(), help.to_owned()));
            }
            Some(phase) if phase.faults.is_empty() => {
                let help = format!("phases with a fault: {}", names.join(", "));
                refusals.push((format!("nothing is broken in \"{}\"", phase.name), help));
            }
            _ => {}
        }
        let first_fault = self.phases.iter().position(|phase| !phase.faults.is_empty());
        let measured = |phase: &&Phase| {
            broken(phase)
                && term.phase.and_then(|index| self.phases.get(index)).is_none_or(|one| one.name == phase.name)
        };
        for path in [CachePath::Cached, CachePath::Uncached] {
            let wanted = self.phases.iter().any(|phase| measured(&phase) && phase.path == path);
            let quiet = |phase: &Phase| phase.path == path && !phase.warm_up;
            let before = self.phases.iter().take(first_fault.unwrap_or(0)).any(quiet);
            if wanted && !before && term.path.is_none_or(|only| only == path) {
                refusals.push((
                    "what is normal is measured before the first fault, and nothing is measured there".to_owned(),
                    format!(
                        "add a judged [[phase]] with path = \"{}\" and without a fault before the first fault",
                        path.as_str()
                    ),
                ));
            }
        }
        refusals
    }

    /// Whether the scenario does what the metric counts.
    fn check_metric(&self, tree: &TermTree, term: &Term, refusals: &mut Vec<RuleProblem>) {
        let metric = term.metric;
        let mut refuse = |message: &str, help: &str| {
            refusals.push(RuleProblem::new(&tree.span, format!("{metric}: {message}"), help));
        };
        let http = self.target.kind == TargetKind::Http;
        let reads_cache = |request: &Request| request.cacheable;
        let uncached = term.path == Some(CachePath::Uncached)
            || term
                .phase
                .and_then(|index| self.phases.get(index))
                .is_some_and(|phase| phase.path == CachePath::Uncached);
        if metric.is_fault_metric() {
            for (message, help) in self.check_fault_metric(term) {
                refuse(&message, &help);
            }
        }
        match metric {
            Metric::DbConnections | Metric::DbConnectionsGrowth if self.stack.postgres.is_none() => {
                refuse("there is no database to ask", "add [stack.postgres]");
            }
            Metric::RedisClients | Metric::RedisClientsGrowth if self.stack.redis.is_none() => {
                refuse("there is no Redis to ask", "add [stack.redis]");
            }
            Metric::AppMemoryGrowth | Metric::AppFiles | Metric::AppFilesGrowth | Metric::LogBytesPerRequest
                if !self.target.is_started() =>
            {
                refuse("the app is not started by cacheproof", "add start = [\"…\"] to [target] or leave the rule out");
            }
            Metric::DbQueries | Metric::DbQueriesPerRequest if self.stack.postgres.is_none() => {
                refuse("there is no database to count at", "add [stack.postgres]");
            }
            Metric::RedisMemory | Metric::Evictions if self.stack.redis.is_none() => {
                refuse("there is no Redis to ask", "add [stack.redis]");
            }
            Metric::AppMemory if !self.target.is_started() => {
                refuse("the app is not started by cacheproof", "add start = [\"…\"] to [target] or leave the rule out");
            }
            // Without a version, answers are compared at rest, which takes a way past the cache.
            Metric::Stale if self.target.version.is_none() && self.target.bypass.is_none() => {
                refuse("answers carry no version", "say where it stands: version = \"version\" in [target]");
            }
            Metric::StaleOf(_) | Metric::NonMonotonic | Metric::StaleAge(_) | Metric::StaleAgeMax
                if self.target.version.is_none() =>
            {
                refuse(
                    "answers carry no version, so stale ones can be counted (\"stale\") but not told apart",
                    "say where it stands: version = \"version\" in [target]",
                );
            }
            Metric::StaleOf(StaleKind::BeyondTtl) if self.freshness.ttl.is_none() => {
                refuse("how long the app keeps an answer is not known", "say so: ttl = \"60s\" in [freshness]");
            }
            Metric::StaleOf(StaleKind::BeyondTtl)
                if self
                    .freshness
                    .ttl
                    .is_some_and(|ttl| !self.phases.is_empty() && self.whole() < ttl + RECHECK_DELAY) =>
            {
                let (whole, ttl) = (self.whole().as_secs_f64(), self.freshness.ttl.unwrap_or_default().as_secs_f64());
                refuse(
                    &format!(
                        "the timeline is {whole} s long, and whether an answer outlives its TTL of {ttl} s shows a second \
                         later: this could never fail"
                    ),
                    "let the phases together last longer than that, or run the app with a shorter TTL",
                );
            }
            Metric::StaleOf(StaleKind::SourceRegressed) if self.target.bypass.is_none() => {
                refuse(
                    "there is no way to look past the cache",
                    "say how in [target]: bypass = { header = \"Cache-Control: no-store\" }",
                );
            }
            Metric::Stale | Metric::StaleOf(_) | Metric::NonMonotonic | Metric::StaleAge(_) | Metric::StaleAgeMax
                if !self.requests.is_empty() && self.requests.iter().all(|request| request.method.is_read()) =>
            {
                refuse(
                    "nothing is ever written, so nothing can be stale",
                    "add a [[traffic.request]] with put or patch",
                );
            }
            Metric::Stale | Metric::StaleOf(_) | Metric::NonMonotonic | Metric::StaleAge(_) | Metric::StaleAgeMax
                if !self.requests.is_empty() && !self.requests.iter().any(|one| self.is_written(one)) =>
            {
                let read = self.requests.iter().find(|one| one.method.is_read() && one.item_key().is_some());
                let path = read.map_or("/posts/{post}", Request::template);
                refuse(
                    "no item that is read is also written, so no answer can be seen to be stale",
                    &format!("write and read by the same path: get = \"{path}\" and put = \"{path}\" (or patch)"),
                );
            }
            Metric::WrongOf(kind) if !self.requests.is_empty() && !self.can_be_wrong(None, kind) => {
                let help = match kind {
                    WrongKind::OtherItem => "say where an item's key stands: identity = \"id\" in [target]",
                    WrongKind::OtherUser => {
                        "say who asks and whose the answer is: headers = { \"X-User\" = \"{user}\" } and owner = \"user\""
                    }
                    WrongKind::NeverWritten | WrongKind::Torn => {
                        "write {token} into two fields of a body, and name them: tokens = [\"title\", \"body\"] in [target]"
                    }
                    WrongKind::Lost => "write and read an item by the same path, with put (or patch) and get",
                };
                refuse("no answer can be told to be wrong in this way", help);
            }
            Metric::WrongAnswers
                if self.target.identity.is_none() && !self.can_be_wrong(None, WrongKind::OtherUser) =>
            {
                refuse("answers cannot be told apart", "say where an item's key stands: identity = \"id\" in [target]");
            }
            Metric::WrongAnswers
                if !self.requests.is_empty()
                    && !self.requests.iter().any(Request::has_identity)
                    && !self.can_be_wrong(None, WrongKind::OtherUser) =>
            {
                refuse(
                    "no request names an item, so no answer can be another's",
                    "add a [[traffic.request]] whose path ends in a key, e.g. get = \"/posts/{post}\"",
                );
            }
            Metric::HitRate | Metric::HitRateRecovery | Metric::Refill if uncached => {
                refuse("requests past the cache are neither hits nor misses", "measure it on cached");
            }
            Metric::HitRate | Metric::Hits | Metric::Misses | Metric::HitRateRecovery | Metric::Refill
                if !self.requests.iter().any(reads_cache) =>
            {
                refuse("no request is cacheable", "add a [[traffic.request]] with get");
            }
            Metric::Fallbacks if self.target.cache == CacheKind::None && !http => {
                refuse("the target has no cache to fall back from", "set cache = \"redis\" in [target]");
            }
            _ => {}
        }
        let Some((request, (name, span))) =
            term.request.and_then(|index| self.requests.get(index)).zip(tree.request.as_ref())
        else {
            return;
        };
        let refusal = match metric {
            metric
                if metric.is_fault_metric()
                    || metric.is_resource_metric()
                    || matches!(metric, Metric::DbQueries | Metric::DbQueriesPerRequest) =>
            {
                Some((format!("{metric} cannot be told apart by request"), "leave \"for\" out".to_owned()))
            }
            Metric::HitRate | Metric::Hits | Metric::Misses if !request.cacheable => {
                let cacheable = self.requests.iter().filter(|one| one.cacheable).map(|one| one.name.as_str());
                let help = format!("cacheable requests: {}", cacheable.collect::<Vec<_>>().join(", "));
                Some((format!("{metric} does not count \"{name}\", which is not cacheable"), help))
            }
            Metric::WrongOf(kind) if !self.can_be_wrong(Some(request), kind) => Some((
                format!("no answer to \"{name}\" can be told to be wrong in this way"),
                "leave \"for\" out".into(),
            )),
            Metric::WrongAnswers if !WrongKind::ALL.into_iter().any(|kind| self.can_be_wrong(Some(request), kind)) => {
                Some((
                    format!("\"{name}\" names no item, so its answers cannot be another's"),
                    "name a request with get, put or patch whose path ends in a key".to_owned(),
                ))
            }
            Metric::Stale | Metric::StaleOf(_) | Metric::NonMonotonic | Metric::StaleAge(_) | Metric::StaleAgeMax
                if !request.method.is_read() =>
            {
                Some((format!("\"{name}\" is no read, so it cannot be stale"), "name a request with get".to_owned()))
            }
            // Where nothing at all is written, that has been said.
            Metric::Stale | Metric::StaleOf(_) | Metric::NonMonotonic | Metric::StaleAge(_) | Metric::StaleAgeMax
                if !self.is_written(request) && self.requests.iter().any(|one| self.is_written(one)) =>
            {
                Some((
                    format!(
                        "what \"{name}\" reads is never written by the same path, so it cannot be seen to be stale"
                    ),
                    match request.item_key() {
                        Some(_) => {
                            format!("add a [[traffic.request]] with put = \"{}\" (or patch)", request.template())
                        }
                        None => "name a request with get whose path ends in a key".to_owned(),
                    },
                ))
            }
            _ => None,
        };
        if let Some((message, help)) = refusal {
            refusals.push(RuleProblem::new(span, message, help));
        }
    }
}
