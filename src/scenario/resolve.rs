//! Rules against the scenario they stand in: names become indices, and a rule on something that the scenario
//! never does, or that could never fail, is refused.

use std::ops::Range;
use std::time::Duration;

use super::grammar::{LimitTree, RuleTree, TermTree};
use super::problem::known_names;
use super::{
    CacheKind, Limit, Metric, Op, Path, Phase, Quantity, Request, Rule, StackSpec, TargetKind, TargetSpec, Term,
};

/// What a rule is checked against.
pub(super) struct Context<'a> {
    pub(super) stack: &'a StackSpec,
    pub(super) target: &'a TargetSpec,
    pub(super) requests: &'a [Request],
    pub(super) phases: &'a [Phase],
}

/// What is wrong with a rule, and which part of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
}

impl Refusal {
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
}

impl Dimension {
    fn of(metric: Metric) -> Self {
        match metric {
            Metric::ResponsePercentile(_) | Metric::ServicePercentile(_) | Metric::Mean | Metric::Max => Self::Time,
            Metric::Throughput => Self::Rate,
            Metric::Availability | Metric::HitRate => Self::Share,
            Metric::Errors | Metric::Fallbacks | Metric::Stale => Self::CountOrShare,
            Metric::RedisMemory => Self::BytesOrShare,
            Metric::AppMemory => Self::Bytes,
            Metric::Requests
            | Metric::Hits
            | Metric::Misses
            | Metric::WrongAnswers
            | Metric::DbQueries
            | Metric::DbQueriesPerRequest
            | Metric::Evictions => Self::Count,
        }
    }

    fn takes(self, value: Quantity) -> bool {
        match value {
            Quantity::Time(_) => self == Self::Time,
            Quantity::Share(_) => matches!(self, Self::Share | Self::CountOrShare | Self::BytesOrShare),
            Quantity::Count(_) => matches!(self, Self::Count | Self::CountOrShare),
            Quantity::Bytes(_) => matches!(self, Self::Bytes | Self::BytesOrShare),
            Quantity::Rate(_) => self == Self::Rate,
        }
    }

    /// Whether two metrics can be held against each other.
    fn compares(self, other: Self) -> bool {
        let plain = |dimension| match dimension {
            Self::CountOrShare => Self::Count,
            Self::BytesOrShare => Self::Bytes,
            plain => plain,
        };
        plain(self) == plain(other)
    }

    fn what(self) -> &'static str {
        match self {
            Self::Time => "a time, e.g. 150ms",
            Self::Share => "a percentage, e.g. 60%",
            Self::Count => "a plain number, e.g. 0",
            Self::CountOrShare => "a number or a percentage of the requests, e.g. 0 or 1%",
            Self::Rate => "a rate, e.g. 400/s",
            Self::Bytes => "a size, e.g. 64mb",
            Self::BytesOrShare => "a size or a percentage of maxmemory, e.g. 64mb or 80%",
        }
    }
}

/// Turns the tree into a rule, or says all that is wrong with it.
pub(super) fn resolve(text: &str, tree: &RuleTree, context: &Context<'_>) -> Result<Rule, Vec<Refusal>> {
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
            if !dimension.compares(other_dimension) {
                let message = format!("{} and {} cannot be compared", tree.term.metric, other.metric);
                let help = format!(
                    "{} is {}; {} is {}",
                    tree.term.metric,
                    dimension.what(),
                    other.metric,
                    other_dimension.what()
                );
                refusals.push(Refusal::new(&other.span, message, help));
            } else if term == other_term && refusals.is_empty() {
                let help = "name another path, request or phase on one of the sides";
                refusals.push(Refusal::new(&other.span, "both sides are the same measurement", help));
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
    refusals: &mut Vec<Refusal>,
) {
    let metric = tree.term.metric;
    if !dimension.takes(value) {
        let message = format!("{metric} is not {}", value.kind());
        refusals.push(Refusal::new(span, message, format!("compare {metric} with {}", dimension.what())));
        return;
    }
    let (number, most) = match value {
        Quantity::Time(time) => (time.as_secs_f64(), None),
        // Memory may go beyond its limit, parts of a whole may not.
        Quantity::Share(share) => (share, (metric != Metric::RedisMemory).then_some(1.0)),
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
        refusals.push(Refusal::new(
            span,
            message,
            format!("{metric} is always {range}: take a value that can be missed"),
        ));
    }
}

/// Whether two sides of a comparison are counted and not measured as shares: twice the time, twice the count.
fn stays_a_count(metric: Metric) -> bool {
    matches!(metric, Metric::Requests | Metric::DbQueries | Metric::Evictions)
}

/// Whether it is a share of the requests as soon as it is held against another metric.
fn becomes_a_share(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Errors | Metric::Hits | Metric::Misses | Metric::Fallbacks | Metric::WrongAnswers | Metric::Stale
    )
}

impl Context<'_> {
    /// How long the phases of a term last.
    fn length(&self, term: &Term) -> Duration {
        let all = |phase: &&Phase| !phase.warm_up && term.path.is_none_or(|path| path == phase.path);
        match term.phase.and_then(|index| self.phases.get(index)) {
            Some(phase) => phase.lasts,
            None => self.phases.iter().filter(all).map(|phase| phase.lasts).sum(),
        }
    }

    /// Whether two terms of one kind can be held against each other.
    fn check_comparison(&self, term: &Term, other: &Term, span: &Range<usize>) -> Option<Refusal> {
        if becomes_a_share(term.metric) != becomes_a_share(other.metric) {
            let share = if becomes_a_share(term.metric) { term.metric } else { other.metric };
            let message = format!("{} and {} cannot be compared", term.metric, other.metric);
            let help = format!("in a comparison {share} is a share of the requests: compare it with another share");
            return Some(Refusal::new(span, message, help));
        }
        let (length, other_length) = (self.length(term), self.length(other));
        if !stays_a_count(term.metric) && !stays_a_count(other.metric) || length == other_length {
            return None;
        }
        let message =
            format!("counts of {} s and of {} s cannot be compared", length.as_secs_f64(), other_length.as_secs_f64());
        let help = match term.metric {
            Metric::DbQueries => "use db_queries_per_request: it does not grow with a phase's length",
            Metric::Requests => "use throughput: it does not grow with a phase's length",
            _ => "compare phases that last equally long",
        };
        Some(Refusal::new(span, message, help))
    }

    /// Whether an item that the request reads is also written, so that its answers can be stale.
    fn is_written(&self, read: &Request) -> bool {
        read.method.is_read()
            && self.requests.iter().any(|write| write.writes_item() && write.template() == read.template())
    }

    fn term(&self, tree: &TermTree, refusals: &mut Vec<Refusal>) -> Term {
        let mut index = |name: &Option<(String, Range<usize>)>, kind: &str, known: Vec<&str>| {
            let (name, span) = name.as_ref()?;
            let found = known.iter().position(|known| known == name);
            if found.is_none() {
                let message = format!("no {kind} is called \"{name}\"");
                refusals.push(Refusal::new(span, message, known_names(name, &format!("{kind}s"), known)));
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
    fn check_phases(&self, tree: &TermTree, term: &Term, refusals: &mut Vec<Refusal>) {
        if let Some((phase, (name, span))) =
            term.phase.and_then(|index| self.phases.get(index)).zip(tree.phase.as_ref())
        {
            if phase.warm_up {
                let help = format!("judge a phase behind it: {}", self.judged_names());
                refusals.push(Refusal::new(span, format!("\"{name}\" is a warm-up and is not judged"), help));
            }
            if let Some((path, span)) = tree.path.as_ref().filter(|(path, _)| *path != phase.path) {
                let message = format!("nothing goes {} in \"{name}\"", path.as_str());
                let help = format!("all requests of \"{name}\" are {}: leave \"on\" out", phase.path.as_str());
                refusals.push(Refusal::new(span, message, help));
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
                refusals.push(Refusal::new(span, what, help));
            }
        }
    }

    fn judged_names(&self) -> String {
        let judged: Vec<_> =
            self.phases.iter().filter(|phase| !phase.warm_up).map(|phase| phase.name.as_str()).collect();
        if judged.is_empty() { "there is none yet".to_owned() } else { judged.join(", ") }
    }

    /// Whether the scenario does what the metric counts.
    fn check_metric(&self, tree: &TermTree, term: &Term, refusals: &mut Vec<Refusal>) {
        let metric = term.metric;
        let mut refuse = |message: &str, help: &str| {
            refusals.push(Refusal::new(&tree.span, format!("{metric}: {message}"), help));
        };
        let http = self.target.kind == TargetKind::Http;
        let reads_cache = |request: &Request| request.cacheable;
        let uncached = term.path == Some(Path::Uncached)
            || term.phase.and_then(|index| self.phases.get(index)).is_some_and(|phase| phase.path == Path::Uncached);
        match metric {
            Metric::DbQueries | Metric::DbQueriesPerRequest if self.stack.postgres.is_none() => {
                refuse("there is no database to count at", "add [stack.postgres]");
            }
            Metric::RedisMemory | Metric::Evictions if self.stack.redis.is_none() => {
                refuse("there is no Redis to ask", "add [stack.redis]");
            }
            Metric::AppMemory if !self.target.is_started() => {
                refuse("the app is not started by cacheproof", "add start = [\"…\"] to [target] or leave the rule out");
            }
            Metric::Stale if self.target.version.is_none() => {
                refuse("answers carry no version", "say where it stands: version = \"version\" in [target]");
            }
            Metric::Stale
                if !self.requests.is_empty() && self.requests.iter().all(|request| request.method.is_read()) =>
            {
                refuse(
                    "nothing is ever written, so nothing can be stale",
                    "add a [[traffic.request]] with put or patch",
                );
            }
            Metric::Stale if !self.requests.is_empty() && !self.requests.iter().any(|one| self.is_written(one)) => {
                let read = self.requests.iter().find(|one| one.method.is_read() && one.item_key().is_some());
                let path = read.map_or("/posts/{post}", Request::template);
                refuse(
                    "no item that is read is also written, so no answer can be seen to be stale",
                    &format!("write and read by the same path: get = \"{path}\" and put = \"{path}\" (or patch)"),
                );
            }
            Metric::WrongAnswers if self.target.identity.is_none() => {
                refuse("answers cannot be told apart", "say where an item's key stands: identity = \"id\" in [target]");
            }
            Metric::WrongAnswers if !self.requests.is_empty() && !self.requests.iter().any(Request::has_identity) => {
                refuse(
                    "no request names an item, so no answer can be another's",
                    "add a [[traffic.request]] whose path ends in a key, e.g. get = \"/posts/{post}\"",
                );
            }
            Metric::HitRate if uncached => {
                refuse("requests past the cache are neither hits nor misses", "measure it on cached");
            }
            Metric::HitRate | Metric::Hits | Metric::Misses if !self.requests.iter().any(reads_cache) => {
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
            Metric::DbQueries
            | Metric::DbQueriesPerRequest
            | Metric::RedisMemory
            | Metric::Evictions
            | Metric::AppMemory => {
                Some((format!("{metric} cannot be told apart by request"), "leave \"for\" out".to_owned()))
            }
            Metric::HitRate | Metric::Hits | Metric::Misses if !request.cacheable => {
                let cacheable = self.requests.iter().filter(|one| one.cacheable).map(|one| one.name.as_str());
                let help = format!("cacheable requests: {}", cacheable.collect::<Vec<_>>().join(", "));
                Some((format!("{metric} does not count \"{name}\", which is not cacheable"), help))
            }
            Metric::WrongAnswers if !request.has_identity() => Some((
                format!("\"{name}\" names no item, so its answers cannot be another's"),
                "name a request with get, put or patch whose path ends in a key".to_owned(),
            )),
            Metric::Stale if !request.method.is_read() => {
                Some((format!("\"{name}\" is no read, so it cannot be stale"), "name a request with get".to_owned()))
            }
            // Where nothing at all is written, that has been said.
            Metric::Stale if !self.is_written(request) && self.requests.iter().any(|one| self.is_written(one)) => {
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
            refusals.push(Refusal::new(span, message, help));
        }
    }
}
