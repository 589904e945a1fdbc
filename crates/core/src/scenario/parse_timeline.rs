//! The phases and what is broken in them.

use super::parse::name;
use super::parse_fault::{self, FaultCheckContext};
use super::problem::Problem;
use super::reader::Section;
use super::{LoadModel, Phase, SafetySpec, StackSpec, TargetSpec, Traffic, schema};
use crate::journal::CachePath;

pub(super) fn phases(
    root: &Section<'_>,
    stack: &StackSpec,
    target: &TargetSpec,
    traffic: &Traffic,
    safety: &SafetySpec,
) -> Vec<Phase> {
    if !root.has("phase") {
        root.missing("phase", "[[phase]] with name = \"steady\" and lasts = \"20s\"");
    }
    let mut taken = Vec::new();
    let sections = root.sections("phase", "phase", schema::PHASE);
    let context = FaultCheckContext { stack, target, safety, phase: None };
    sections.iter().map(|section| phase(section, context, traffic, &mut taken)).collect()
}

fn phase(section: &Section<'_>, context: FaultCheckContext<'_>, traffic: &Traffic, taken: &mut Vec<String>) -> Phase {
    let name = name(section, "steady", taken);
    let path = section.one_of("path", &[("cached", CachePath::Cached), ("uncached", CachePath::Uncached)]);
    if let Some(uncached) =
        path.as_ref().filter(|path| path.value == CachePath::Uncached && context.target.bypass.is_none())
    {
        let help =
            "say how in [target]: bypass = { header = \"Cache-Control: no-store\" } or { query = \"nocache=1\" }";
        let message = "cacheproof does not know how to go past this app's cache";
        section.problems.add(Problem::new(message).at(uncached.span.clone()).help(help));
    }
    if !section.has("lasts") {
        section.missing("lasts", "lasts = \"20s\"");
    }
    let lasts = section.time("lasts", false, "lasts = \"20s\"").map(|lasts| lasts.value);
    let warm_up = section.boolean("warm_up").unwrap_or(false);
    let rate = section.rate("rate", "rate = \"400/s\"");
    if let Some(span) = section.key_span("rate").filter(|_| matches!(traffic.load_model, LoadModel::Closed { .. })) {
        let help = "leave it out, or drive with rate instead of users in [traffic]";
        let message = "users send when they were answered, so a phase has no rate";
        section.problems.add(Problem::new(message).at(span).help(help));
    }
    let mut faults = section.sections("faults", "phase.faults", schema::FAULT);
    faults.extend(section.section("fault", "fault", schema::FAULT));
    if let Some(span) = section.key_span("fault").filter(|_| section.has("faults")) {
        let message = "a phase has either \"fault\" or \"faults\"";
        section.problems.add(Problem::new(message).at(span).help("put all of them into faults = [{ … }, { … }]"));
    }
    if let Some(fault) = faults.first().filter(|_| warm_up) {
        let help = "put the fault in a phase behind the warm-up";
        let message = "a warm-up ends when the hit rate is stable, so nothing can be broken in it";
        section.problems.add(Problem::new(message).at(fault.span.clone()).help(help));
    }
    let context = FaultCheckContext { phase: lasts, ..context };
    let faults = faults.iter().filter_map(|fault| parse_fault::fault(fault, context)).collect();
    Phase {
        name,
        path: path.map_or(CachePath::Cached, |path| path.value),
        lasts: lasts.unwrap_or_default(),
        warm_up,
        rate,
        faults,
    }
}
