//! The view model: everything that the pages show, computed once, for HTML and Markdown alike.
//!
//! Numbers are in words already. Texts from outside are still as they came: each format shortens and escapes them.

mod comparison;
mod environment;
mod faults;
mod request_stats;
mod stale;
mod tables;

use cacheproof_core::journal::{Example, Outcome, RunStarted};
use cacheproof_core::measurements::Measurements;
use cacheproof_core::numbers;
use cacheproof_core::scenario::Scenario;
use cacheproof_verdict::{Finding, RuleResult, Ruling, Verdict};

pub use comparison::{ComparisonRow, PathComparison, compared_phases, path_comparison};
pub(crate) use environment::{Environment, topology};
pub use faults::fault_lines;
pub(crate) use faults::{FaultRow, FaultsView};
pub use request_stats::RequestStats;
pub use stale::stale_lines;
pub(crate) use stale::{StaleExample, StaleSummary, relative};
pub(crate) use tables::{Figures, OutcomeTable, PhaseRow, RequestRow, StatementsTable};

/// What a report is computed from.
#[derive(Clone, Copy)]
pub(crate) struct ReportInput<'a> {
    pub scenario: &'a Scenario,
    pub measurements: &'a Measurements,
    pub verdict: &'a Verdict,
}

impl<'a> ReportInput<'a> {
    pub fn phase_name(&self, phase: usize) -> &'a str {
        self.scenario.phases.get(phase).map_or("?", |phase| &phase.name)
    }

    pub fn request_name(&self, request: usize) -> &'a str {
        self.scenario.traffic.requests.get(request).map_or("?", |request| &request.name)
    }
}

/// Everything that a page shows.
pub(crate) struct View<'a> {
    pub title: &'a str,
    pub seed: u64,
    pub ruling: Ruling,
    pub summary: &'a str,
    /// How, when and where the run was started.
    pub start: Option<&'a RunStarted>,
    /// How long the run took, in words.
    pub duration: String,
    pub criteria: Vec<Criterion<'a>>,
    pub comparison: PathComparison,
    /// What makes the run valid or not.
    pub findings: &'a [Finding],
    pub phases: Vec<PhaseRow<'a>>,
    pub outcomes: OutcomeTable<'a>,
    /// What Redis itself counted in a phase, beside what the answers said.
    pub redis_lookups: Vec<(&'a str, String)>,
    pub requests: Vec<RequestRow<'a>>,
    /// What the database executed, if it counts that.
    pub statements: Option<StatementsTable<'a>>,
    pub faults: FaultsView<'a>,
    /// `None` where no read was judged.
    pub stale: Option<StaleSummary<'a>>,
    pub examples: Vec<ExampleRow<'a>>,
    pub environment: Environment<'a>,
    pub totals: Totals,
}

/// An acceptance criterion with its evidence.
pub(crate) struct Criterion<'a> {
    pub ruling: Ruling,
    pub says: &'a str,
    pub rules: &'a [RuleResult],
    /// Evidence that is no rule's: the tests that prove the criterion, or that nothing does.
    pub other_evidence: Vec<String>,
}

/// An answer that was not as it should be.
pub(crate) struct ExampleRow<'a> {
    pub phase: &'a str,
    pub kind: &'a str,
    pub request: &'a str,
    pub detail: &'a str,
}

/// The whole run in numbers; warm-up left out.
pub(crate) struct Totals {
    pub requests: String,
    /// Share of the requests that were answered.
    pub answered: String,
    /// Reads judged for freshness, probe reads among them.
    pub judged_reads: String,
    pub stale: String,
    pub wrong: String,
}

impl<'a> View<'a> {
    pub fn of(input: ReportInput<'a>) -> Self {
        let ReportInput { scenario, measurements, verdict } = input;
        let stale = stale::stale_summary(input);
        let example = |example: &'a Example| ExampleRow {
            phase: input.phase_name(example.phase),
            kind: &example.kind,
            request: &example.request,
            detail: &example.detail,
        };
        Self {
            title: &scenario.title,
            seed: scenario.seed,
            ruling: verdict.ruling,
            summary: &verdict.summary,
            start: measurements.start.as_ref(),
            duration: numbers::moment(measurements.last_at.round()),
            criteria: criteria(verdict),
            comparison: path_comparison(scenario, measurements),
            findings: &verdict.validity,
            phases: tables::phases(input),
            outcomes: tables::outcomes(input),
            redis_lookups: tables::redis_lookups(input),
            requests: tables::requests(input),
            statements: tables::statements(input),
            faults: FaultsView::of(input),
            totals: totals(input, stale.as_ref()),
            stale,
            examples: measurements.examples.iter().map(example).collect(),
            environment: Environment::of(measurements),
        }
    }

    /// Whether a finding puts the run in doubt.
    pub fn is_doubtful(&self) -> bool {
        self.findings.iter().any(|finding| finding.blocking)
    }
}

/// The criteria of a verdict, in the scenario's order.
pub(crate) fn criteria(verdict: &Verdict) -> Vec<Criterion<'_>> {
    let criteria = verdict.criteria.iter();
    criteria
        .map(|criterion| Criterion {
            ruling: criterion.ruling,
            says: &criterion.says,
            rules: &criterion.rules,
            other_evidence: criterion.evidence().into_iter().skip(criterion.rules.len()).collect(),
        })
        .collect()
}

impl Criterion<'_> {
    /// Whether each rule shows its own ruling: with one rule and no test it is the criterion's.
    pub fn has_several_rules(&self) -> bool {
        self.rules.len() + self.other_evidence.len() > 1
    }

    /// All its evidence in one line.
    pub fn evidence_line(&self) -> String {
        let rules = self.rules.iter().map(|rule| rule.evidence.as_str());
        rules.chain(self.other_evidence.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
    }
}

fn totals(input: ReportInput<'_>, stale: Option<&StaleSummary<'_>>) -> Totals {
    let ReportInput { scenario, measurements, .. } = input;
    let count = |outcome| measurements.count(|key| scenario.is_judged(key.phase) && key.outcome == outcome);
    let requests = measurements.total(|key| scenario.is_judged(key.phase)).count();
    let answered = (requests > 0).then(|| 1.0 - count(Outcome::Error) as f64 / requests as f64);
    let probes_wrong = measurements.freshness(|key| scenario.is_judged(key.phase)).probes_wrong;
    Totals {
        requests: numbers::count(requests),
        answered: or_dash(answered, numbers::share),
        judged_reads: numbers::count(stale.map_or(0, |stale| stale.judged)),
        stale: numbers::count(stale.map_or(0, |stale| stale.stale)),
        wrong: numbers::count(count(Outcome::Wrong) + probes_wrong),
    }
}

/// A value in words, or a dash where it was not measured.
pub(crate) fn or_dash(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

/// `1 word`, `2 words`.
pub(crate) fn plural(count: u64, word: &str) -> String {
    format!("{} {word}{}", numbers::count(count), if count == 1 { "" } else { "s" })
}
