//! summary.json: verdict and figures for programs. docs/summary-schema.md describes it; what changes its
//! meaning raises [`super::SUMMARY_VERSION`].

use serde::Serialize;

use cacheproof_core::journal::CachePath;
use cacheproof_core::journal::{Outcome, ProxyCost, RunEnded, StackReady, TargetReady};
use cacheproof_verdict::Verdict;

use super::faults::{FaultJson, json_faults};
use super::request_stats::{RequestStats, request_stats};
use super::stale::{StaleSummary as Freshness, stale_summary as freshness};
use super::{PathComparison, ReportInput, SUMMARY_VERSION};

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
    freshness: Option<Freshness<'a>>,
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
    host: Option<&'a cacheproof_core::journal::Host>,
}

#[derive(Serialize)]
struct PhaseStats<'a> {
    name: &'a str,
    path: CachePath,
    warm_up: bool,
    from: f64,
    to: Option<f64>,
    reason: Option<&'a str>,
    figures: RequestStats,
}

#[derive(Serialize)]
struct OutcomeCount<'a> {
    phase: &'a str,
    path: CachePath,
    request: &'a str,
    outcome: Outcome,
    count: u64,
}

pub(super) fn summary(view: &ReportInput<'_>) -> Vec<u8> {
    let (scenario, seen) = (view.scenario, view.seen);
    let start = seen.start.as_ref();
    let text = |pick: fn(&cacheproof_core::journal::RunStarted) -> &str| start.map_or("", pick);
    let summary = Summary {
        schema: SUMMARY_VERSION,
        cacheproof: text(|start| &start.cacheproof),
        run: Run {
            id: text(|start| &start.run_id),
            title: &scenario.title,
            scenario: text(|start| &start.scenario_name),
            seed: scenario.seed,
            started_at: text(|start| &start.started_at),
            seconds: seen.last_at,
            complete: seen.complete(),
            end: seen.end.as_ref(),
            command: text(|start| &start.command),
            git: text(|start| &start.git),
            host: start.map(|start| &start.host),
        },
        verdict: view.verdict,
        compared: &view.path_comparison,
        phases: seen
            .phases
            .iter()
            .filter_map(|(index, span)| {
                let phase = scenario.phases.get(*index)?;
                Some(PhaseStats {
                    name: &phase.name,
                    path: phase.path,
                    warm_up: phase.warm_up,
                    from: span.from,
                    to: span.to,
                    reason: span.reason.as_deref(),
                    figures: request_stats(scenario, seen, &[*index], |_| true),
                })
            })
            .collect(),
        outcomes: seen
            .cells
            .iter()
            .map(|(key, totals)| OutcomeCount {
                phase: view.phase_name(key.phase),
                path: key.path,
                request: view.request_name(key.request),
                outcome: key.outcome,
                count: totals.count(),
            })
            .collect(),
        faults: json_faults(view),
        freshness: freshness(view),
        stack: seen.stack.as_ref(),
        proxy: seen.proxy.as_ref(),
        target: seen.target.as_ref(),
    };
    let mut bytes = serde_json::to_vec_pretty(&summary).expect("a summary holds nothing that JSON cannot");
    bytes.push(b'\n');
    bytes
}
