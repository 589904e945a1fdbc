//! summary.json: verdict and figures for programs. docs/summary-schema.md describes it; a change of meaning
//! raises [`super::SUMMARY_VERSION`].

use serde::Serialize;

use cacheproof_core::journal::{CachePath, Host, Outcome, ProxyCost, RunEnded, RunStarted, StackReady, TargetReady};
use cacheproof_verdict::{LimitViolation, Recovery, Ruling, SteadyLimits, Verdict};

use super::SUMMARY_VERSION;
use super::view::{FaultRow, PathComparison, ReportInput, RequestStats, StaleSummary, View};

#[derive(Serialize)]
struct Summary<'a> {
    schema: u32,
    cacheproof: &'a str,
    run: Run<'a>,
    verdict: &'a Verdict,
    compared: &'a PathComparison,
    phases: Vec<PhaseStats<'a>>,
    outcomes: Vec<OutcomeCount<'a>>,
    faults: Vec<FaultJson<'a>>,
    freshness: Option<&'a StaleSummary<'a>>,
    stack: Option<&'a StackReady>,
    proxy: Option<&'a ProxyCost>,
    target: Option<&'a TargetReady>,
}

#[derive(Serialize)]
struct Run<'a> {
    id: &'a str,
    title: &'a str,
    scenario: &'a str,
    seed: u64,
    started_at: &'a str,
    seconds: f64,
    complete: bool,
    end: Option<&'a RunEnded>,
    command: &'a str,
    git: &'a str,
    host: Option<&'a Host>,
}

#[derive(Serialize)]
struct PhaseStats<'a> {
    name: &'a str,
    path: CachePath,
    warm_up: bool,
    from: f64,
    to: Option<f64>,
    reason: Option<&'a str>,
    figures: &'a RequestStats,
}

#[derive(Serialize)]
struct OutcomeCount<'a> {
    phase: &'a str,
    path: CachePath,
    request: &'a str,
    outcome: Outcome,
    count: u64,
}

pub(super) fn summary(input: ReportInput<'_>, view: &View<'_>) -> Vec<u8> {
    let ReportInput { scenario, measurements, verdict } = input;
    let start = view.start;
    let text = |pick: fn(&RunStarted) -> &str| start.map_or("", pick);
    let summary = Summary {
        schema: SUMMARY_VERSION,
        cacheproof: text(|start| &start.cacheproof),
        run: Run {
            id: text(|start| &start.run_id),
            title: &scenario.title,
            scenario: text(|start| &start.scenario_name),
            seed: scenario.seed,
            started_at: text(|start| &start.started_at),
            seconds: measurements.last_at,
            complete: measurements.complete(),
            end: measurements.end.as_ref(),
            command: text(|start| &start.command),
            git: text(|start| &start.git),
            host: view.environment.host,
        },
        verdict,
        compared: &view.comparison,
        phases: view
            .phases
            .iter()
            .filter_map(|row| {
                let span = measurements.phases.get(&row.index)?;
                Some(PhaseStats {
                    name: row.name,
                    path: row.path,
                    warm_up: row.warm_up,
                    from: span.from,
                    to: span.to,
                    reason: span.reason.as_deref(),
                    figures: &row.stats,
                })
            })
            .collect(),
        outcomes: measurements
            .cells
            .iter()
            .map(|(key, totals)| OutcomeCount {
                phase: input.phase_name(key.phase),
                path: key.path,
                request: input.request_name(key.request),
                outcome: key.outcome,
                count: totals.count(),
            })
            .collect(),
        faults: view.faults.rows.iter().map(fault_json).collect(),
        freshness: view.stale.as_ref(),
        stack: measurements.stack.as_ref(),
        proxy: measurements.proxy.as_ref(),
        target: measurements.target.as_ref(),
    };
    let mut bytes = serde_json::to_vec_pretty(&summary).expect("a summary holds nothing that JSON cannot");
    bytes.push(b'\n');
    bytes
}

/// A fault for summary.json.
#[derive(Serialize)]
struct FaultJson<'a> {
    phase: &'a str,
    what: &'a str,
    round: u32,
    done: &'a str,
    connections: Option<u64>,
    begun: f64,
    injected: Option<f64>,
    seen: Option<f64>,
    undone: Option<f64>,
    back: Option<f64>,
    noticed: Option<f64>,
    noticed_by: Option<LimitViolation>,
    service: &'a Recovery,
    recovered: Option<f64>,
    absorbed: Option<f64>,
    over: Option<f64>,
    timed_from: Option<f64>,
    watched_to: f64,
    trouble: f64,
    relapse: f64,
    requests: u64,
    availability: Option<f64>,
    errors: u64,
    wrong: u64,
    stale: u64,
    fallbacks: u64,
    hit_rate: Option<HitRateJson<'a>>,
    limits: Option<&'a SteadyLimits>,
    hints: &'a [String],
    promised: Vec<AppliedRule<'a>>,
}

#[derive(Serialize)]
struct HitRateJson<'a> {
    back: &'a Recovery,
    steady: f64,
    target: f64,
    lowest: Option<f64>,
    emptied: bool,
    bound: Option<f64>,
}

#[derive(Serialize)]
struct AppliedRule<'a> {
    rule: &'a str,
    ruling: Ruling,
}

fn fault_json<'a>(fault: &FaultRow<'a>) -> FaultJson<'a> {
    let outcome = fault.outcome;
    FaultJson {
        phase: fault.phase,
        what: &outcome.window.what,
        round: outcome.window.round,
        done: &outcome.window.done,
        connections: outcome.window.connections,
        begun: outcome.window.from,
        injected: outcome.window.injected,
        seen: outcome.window.seen,
        undone: outcome.window.undone,
        back: outcome.window.back,
        noticed: outcome.noticed,
        noticed_by: outcome.noticed_by,
        service: &outcome.service,
        recovered: outcome.recovered_at(),
        absorbed: outcome.absorbed,
        over: outcome.over,
        timed_from: outcome.base,
        watched_to: outcome.watched_to,
        trouble: outcome.trouble,
        relapse: outcome.relapse,
        requests: outcome.impact.counts.requests(),
        availability: outcome.availability(),
        errors: outcome.impact.counts.errors,
        wrong: outcome.impact.counts.wrong,
        stale: outcome.impact.counts.stale,
        fallbacks: outcome.impact.counts.fallbacks,
        hit_rate: outcome.hit_rate.as_ref().map(|hit_rate| HitRateJson {
            back: &hit_rate.back,
            steady: hit_rate.steady,
            target: hit_rate.target,
            lowest: hit_rate.lowest,
            emptied: hit_rate.emptied,
            bound: hit_rate.bound,
        }),
        limits: outcome.limits.as_ref(),
        hints: &outcome.hints,
        promised: fault.promised.iter().map(|(ruling, rule)| AppliedRule { rule, ruling: *ruling }).collect(),
    }
}
