//! Rules checked against their scenario: names become indices, and a rule on something that the scenario never
//! does, or that could never fail, is refused.

use std::ops::Range;
use std::time::Duration;

use super::grammar::{LimitTree, RuleTree, TermTree};
use super::problem::known_names;
use super::{FreshnessSpec, Limit, Op, Phase, Request, Rule, StackSpec, TargetSpec, Term, slips};
use crate::metrics::{Comparison, Dimension, MeasuredOn, Quantity};

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

/// Turns the tree into a rule, or says all that is wrong with it.
pub(super) fn resolve(text: &str, tree: &RuleTree, context: &RuleContext<'_>) -> Result<Rule, Vec<RuleProblem>> {
    let mut refusals = Vec::new();
    let term = context.term(&tree.term, &mut refusals);
    let dimension = tree.term.metric.definition().dimension;
    let limit = match &tree.limit {
        LimitTree::Value(value, span) => {
            check_value(tree, *value, (span, &text[span.clone()]), dimension, &mut refusals);
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

/// Two percentiles of the same answers, whose order decides the rule whatever is measured.
fn decided_by_order(term: &Term, other: &Term, (op, factor): (Op, f64), span: &Range<usize>) -> Option<RuleProblem> {
    let place = |term: &Term| (term.path, term.request, term.phase, term.metric.definition().name);
    let (q, other_q) = (term.metric.percentile()?, other.metric.percentile()?);
    if place(term) != place(other) {
        return None;
    }
    const SAYS_NOTHING: &str = "this rule says nothing about the app";
    const NEVER_HOLDS: &str = "this rule could never hold";
    let (message, larger) = match op {
        Op::Less | Op::AtMost if q < other_q && factor >= 1.0 => (SAYS_NOTHING, other),
        Op::AtMost if q > other_q && factor < 1.0 => (NEVER_HOLDS, term),
        Op::Less if q > other_q && factor <= 1.0 => (NEVER_HOLDS, term),
        Op::More | Op::AtLeast if q > other_q && factor <= 1.0 => (SAYS_NOTHING, term),
        Op::AtLeast if q < other_q && factor > 1.0 => (NEVER_HOLDS, other),
        Op::More if q < other_q && factor >= 1.0 => (NEVER_HOLDS, other),
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
    let never_fails = match tree.op {
        Op::AtLeast => number == 0.0,
        Op::AtMost => most.is_some_and(reaches),
        Op::Less | Op::NotEqual => most.is_some_and(above),
        // No answer takes no time.
        Op::More => number == 0.0 && is_response_time,
        Op::Equal => false,
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
        let all = |phase: &&Phase| !phase.warm_up && term.path.is_none_or(|path| path == phase.path);
        match term.phase.and_then(|index| self.phases.get(index)) {
            Some(phase) => phase.lasts,
            None => self.phases.iter().filter(all).map(|phase| phase.lasts).sum(),
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
