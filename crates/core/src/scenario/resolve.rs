//! Rules checked against their scenario: names become indices, and a rule on something that the scenario never
//! does, or that could never fail, is refused.

use std::ops::Range;
use std::time::Duration;

use super::grammar::{LimitTree, RuleTree, TermTree};
use super::problem::known_names;
use super::{FreshnessSpec, Limit, LoadModel, Op, Phase, Request, Rule, StackSpec, TargetSpec, Term, slips};
use crate::metrics::{Comparison, Dimension, MeasuredOn, Metric, Quantity};

/// What a rule is checked against.
pub(super) struct RuleContext<'a> {
    pub(super) stack: &'a StackSpec,
    pub(super) target: &'a TargetSpec,
    pub(super) requests: &'a [Request],
    pub(super) freshness: &'a FreshnessSpec,
    pub(super) phases: &'a [Phase],
    pub(super) load_model: &'a LoadModel,
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

/// Turns the tree into a rule, or says all that is wrong with it.
pub(super) fn resolve(text: &str, tree: &RuleTree, context: &RuleContext<'_>) -> Result<Rule, Vec<RuleProblem>> {
    let mut refusals = Vec::new();
    let term = context.term(&tree.term, &mut refusals);
    let dimension = tree.term.metric.definition().dimension;
    let limit = match &tree.limit {
        LimitTree::Value(value, span) => {
            check_value(tree, *value, (span, &text[span.clone()]), dimension, &mut refusals);
            if refusals.is_empty() {
                refusals.extend(context.check_reachable(&term, tree.op, *value, span));
            }
            Limit::Value(*value)
        }
        LimitTree::Of(factor, other) => {
            let other_term = context.term(other, &mut refusals);
            let other_dimension = other.metric.definition().dimension;
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
            } else if let Some(problem) = decided_by_order(&term, &other_term, (tree.op, *factor), &other.span) {
                refusals.push(problem);
            } else if refusals.is_empty() {
                let comparison = (tree.op, *factor);
                refusals.extend(context.check_comparison(&term, &other_term, comparison, &other.span));
            }
            Limit::Of { factor: *factor, term: other_term }
        }
    };
    if refusals.is_empty() { Ok(Rule { text: text.to_owned(), term, op: tree.op, limit }) } else { Err(refusals) }
}

/// Whether one metric of the same answers can never be above another.
fn is_never_above(one: Metric, other: Metric) -> bool {
    // The maximum is the percentile of all.
    let place = |metric: Metric| {
        let name = metric.definition().name;
        let family = name.strip_suffix("{}").or_else(|| name.strip_suffix("max"))?;
        let family = family.trim_end_matches('p').trim_end_matches('.');
        Some((family, metric.percentile().unwrap_or(1.0)))
    };
    if let (Some((family, q)), Some((other_family, other_q))) = (place(one), place(other)) {
        return family == other_family && q < other_q;
    }
    let (name, other) = (one.definition().name, other.definition().name);
    (name == "mean" && other == "max")
        || name
            .strip_prefix(other)
            .is_some_and(|kind| ["stale", "wrong_answers"].contains(&other) && kind.starts_with('.'))
}

/// Two metrics of the same answers, whose order decides the rule whatever is measured.
fn decided_by_order(term: &Term, other: &Term, (op, factor): (Op, f64), span: &Range<usize>) -> Option<RuleProblem> {
    let place = |term: &Term| (term.path, term.request, term.phase);
    if place(term) != place(other) {
        return None;
    }
    let (is_lower, is_upper) = (is_never_above(term.metric, other.metric), is_never_above(other.metric, term.metric));
    const SAYS_NOTHING: &str = "this rule says nothing about the app";
    const NEVER_HOLDS: &str = "this rule could never hold";
    let is_count = matches!(term.metric.definition().dimension, Dimension::Count | Dimension::CountOrShare);
    let (message, larger) = match op {
        // Counts may both be 0, so that one is not less than the other.
        Op::Less if is_lower && factor >= 1.0 && !is_count => (SAYS_NOTHING, other),
        Op::AtMost if is_lower && factor >= 1.0 => (SAYS_NOTHING, other),
        Op::AtMost if is_upper && factor < 1.0 && !is_count => (NEVER_HOLDS, term),
        Op::Less if is_upper && factor <= 1.0 => (NEVER_HOLDS, term),
        Op::More if is_upper && factor <= 1.0 && !is_count => (SAYS_NOTHING, term),
        Op::AtLeast if is_upper && factor <= 1.0 => (SAYS_NOTHING, term),
        Op::AtLeast if is_lower && factor > 1.0 && !is_count => (NEVER_HOLDS, other),
        Op::More if is_lower && factor >= 1.0 => (NEVER_HOLDS, other),
        _ => return None,
    };
    let smaller = if larger == term { other } else { term };
    let help = format!(
        "{} is never less than {} of the same answers: name another path, request or phase on one of the sides",
        larger.metric, smaller.metric
    );
    Some(RuleProblem::new(span, message, help))
}

fn check_value(
    tree: &RuleTree,
    value: Quantity,
    (span, written): (&Range<usize>, &str),
    dimension: Dimension,
    refusals: &mut Vec<RuleProblem>,
) {
    let metric = tree.term.metric;
    if !accepts(dimension, value) {
        let message = format!("{metric} is not {}", value.kind());
        refusals.push(RuleProblem::new(span, message, format!("compare {metric} with {}", dimension.describe())));
        return;
    }
    let slip = match value {
        Quantity::Count(number) => slips::fraction_of_count(metric, tree.op, number, written),
        Quantity::Share(share) => slips::fraction_in_percent(metric, tree.op, share),
        Quantity::Time(_) | Quantity::Bytes(_) | Quantity::Rate(_) => None,
    };
    if let Some((message, help)) = slip {
        refusals.push(RuleProblem::new(span, message, help));
        return;
    }
    let (number, most) = match value {
        Quantity::Time(time) => (time.as_secs_f64(), None),
        // Memory may go beyond its limit, parts of a whole may not.
        Quantity::Share(share) => {
            (share, (!matches!(dimension, Dimension::BytesOrShare | Dimension::Growth)).then_some(1.0))
        }
        Quantity::Count(number) | Quantity::Rate(number) => (number, None),
        Quantity::Bytes(bytes) => (bytes as f64, None),
    };
    let above = |most: f64| number > most;
    let reaches = |most: f64| number >= most;
    let definition = metric.definition();
    let is_response_time =
        definition.is_timing && definition.measured_on == MeasuredOn::Responses && dimension == Dimension::Time;
    // No answer takes no time, and nothing that runs needs no memory.
    let is_above_zero = is_response_time || matches!(definition.name, "app_memory" | "redis_memory");
    let is_no_value = number == 0.0 && is_above_zero;
    let never_fails = match tree.op {
        Op::AtLeast => number == 0.0,
        Op::AtMost => most.is_some_and(reaches),
        Op::Less => most.is_some_and(above),
        Op::NotEqual => most.is_some_and(above) || is_no_value,
        Op::More => is_no_value,
        Op::Equal => false,
    };
    let never_holds = match tree.op {
        Op::Less => number == 0.0,
        Op::More => most.is_some_and(reaches),
        Op::AtLeast => most.is_some_and(above),
        Op::Equal => most.is_some_and(above) || is_no_value,
        Op::AtMost => is_no_value,
        Op::NotEqual => false,
    };
    if never_fails || never_holds {
        let message = if never_fails { "this rule could never fail" } else { "this rule could never hold" };
        let range = match most {
            Some(_) => "from 0% to 100%",
            None if is_above_zero => "more than 0",
            None => "0 or more",
        };
        refusals.push(RuleProblem::new(
            span,
            message,
            format!("{metric} is always {range}: take a value that can be missed"),
        ));
    }
}

/// Whether a metric can be compared with such a value.
fn accepts(dimension: Dimension, value: Quantity) -> bool {
    use Dimension::{Bytes, BytesOrShare, Count, CountOrShare, Growth, Rate, Ratio, Share, Time};
    match value {
        Quantity::Time(_) => dimension == Time,
        Quantity::Share(_) => matches!(dimension, Share | CountOrShare | BytesOrShare | Growth),
        Quantity::Count(_) => matches!(dimension, Count | CountOrShare | Ratio),
        Quantity::Bytes(_) => matches!(dimension, Bytes | BytesOrShare | Growth),
        Quantity::Rate(_) => dimension == Rate,
    }
}

impl RuleContext<'_> {
    /// How long the phases of a term last.
    fn length(&self, term: &Term) -> Duration {
        self.phases_of(term).iter().map(|phase| phase.lasts).sum()
    }

    /// Whether a value can be reached in this scenario: not more requests than are sent, not a share of a limit that is not set.
    fn check_reachable(&self, term: &Term, op: Op, value: Quantity, span: &Range<usize>) -> Option<RuleProblem> {
        let name = term.metric.definition().name;
        if let (Quantity::Share(_), "redis_memory", Some(redis)) = (value, name, &self.stack.redis)
            && redis.maxmemory.is_none()
            && redis.url.is_none()
        {
            let help = "set maxmemory = \"64mb\" in [stack.redis], or compare redis_memory with a size";
            return Some(RuleProblem::new(span, "Redis has no maxmemory here to take a share of", help));
        }
        if !matches!(op, Op::More | Op::AtLeast) {
            return None;
        }
        let phases = self.phases_of(term);
        let arrivals: f64 =
            phases.iter().map(|phase| Some(self.rate(phase)? * phase.lasts.as_secs_f64())).sum::<Option<f64>>()?;
        // Random gaps: more than four standard deviations above the plan never come.
        let most = arrivals + 4.0 * arrivals.sqrt() + 1.0;
        let seconds: f64 = phases.iter().map(|phase| phase.lasts.as_secs_f64()).sum();
        let is_beyond = match (name, value) {
            ("requests", Quantity::Count(count)) => count > most,
            ("throughput", Quantity::Rate(rate)) => seconds > 0.0 && rate > most / seconds,
            _ => false,
        };
        is_beyond.then(|| {
            let message = "this rule could never hold: the scenario sends fewer requests";
            RuleProblem::new(span, message, "raise the rate in [traffic], or lower this limit")
        })
    }

    /// The arrival rate of a phase; `None`: the users send as fast as they are answered.
    fn rate(&self, phase: &Phase) -> Option<f64> {
        match self.load_model {
            LoadModel::Open { rate, .. } => Some(phase.rate.unwrap_or(*rate)),
            LoadModel::Closed { .. } => None,
        }
    }

    /// The phases of a term.
    fn phases_of(&self, term: &Term) -> Vec<&Phase> {
        let all = |phase: &&Phase| !phase.warm_up && term.path.is_none_or(|path| path == phase.path);
        match term.phase {
            Some(index) => self.phases.get(index).into_iter().collect(),
            None => self.phases.iter().filter(all).collect(),
        }
    }

    /// Whether two terms of one dimension can be compared.
    fn check_comparison(
        &self,
        term: &Term,
        other: &Term,
        (op, factor): (Op, f64),
        span: &Range<usize>,
    ) -> Option<RuleProblem> {
        let comparison = |term: &Term| term.metric.definition().comparison;
        let is_share = |term: &Term| comparison(term) == Comparison::ShareOfRequests;
        if is_share(term) != is_share(other) {
            let share = if is_share(term) { term.metric } else { other.metric };
            let message = format!("{} and {} cannot be compared", term.metric, other.metric);
            let of_requests = other.metric.definition().name == "requests";
            let help = slips::share_of_requests(term.metric, op, factor).filter(|_| of_requests).unwrap_or_else(|| {
                format!("in a comparison {share} is a share of the requests: compare it with another share")
            });
            return Some(RuleProblem::new(span, message, help));
        }
        if let Some(problem) = self.check_rates(term, other, span) {
            return Some(problem);
        }
        let (length, other_length) = (self.length(term), self.length(other));
        let is_total = |term: &Term| matches!(comparison(term), Comparison::Total(_));
        if !is_total(term) && !is_total(other) || length == other_length {
            return None;
        }
        let message =
            format!("counts of {} s and of {} s cannot be compared", length.as_secs_f64(), other_length.as_secs_f64());
        let help = match comparison(term) {
            Comparison::Total(instead) => instead,
            Comparison::Value | Comparison::ShareOfRequests => "compare phases that last equally long",
        };
        Some(RuleProblem::new(span, message, help))
    }

    /// Where requests arrive by the clock, their number a second is the scenario's, so that phases of unlike rates differ by it alone.
    fn check_rates(&self, term: &Term, other: &Term, span: &Range<usize>) -> Option<RuleProblem> {
        let is_of_rate = |term: &Term| matches!(term.metric.definition().name, "throughput" | "requests");
        if !is_of_rate(term) && !is_of_rate(other) {
            return None;
        }
        let mut rates =
            [term, other].into_iter().flat_map(|term| self.phases_of(term)).filter_map(|phase| self.rate(phase));
        let first = rates.next()?;
        rates.any(|rate| (rate - first).abs() > first * 1e-9).then(|| {
            let message = "these phases differ in their rate, so the scenario decides this comparison";
            let help = "give both phases the same rate, or drive them with users = 50 ([traffic]): then the app decides how many are answered";
            RuleProblem::new(span, message, help)
        })
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
                let help = format!("judge a phase after it: {}", self.judged_names());
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

    /// Whether the scenario does what the metric counts.
    fn check_metric(&self, tree: &TermTree, term: &Term, refusals: &mut Vec<RuleProblem>) {
        for (message, help) in self.check_requirements(term) {
            refusals.push(RuleProblem::new(&tree.span, format!("{}: {message}", term.metric), help));
        }
        let request = term.request.and_then(|index| self.requests.get(index));
        if let Some((request, (_, span))) = request.zip(tree.request.as_ref())
            && let Some((message, help)) = self.check_request(term, request)
        {
            refusals.push(RuleProblem::new(span, message, help));
        }
    }
}
