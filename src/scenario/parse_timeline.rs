//! The phases and what is broken in them.

use std::time::Duration;

use super::parse::name;
use super::problem::Problem;
use super::reader::Section;
use super::{Drive, FaultAction, FaultSpec, Path, Phase, Provider, StackSpec, TargetSpec, Traffic, Victim, schema};

pub(super) fn phases(root: &Section<'_>, stack: &StackSpec, target: &TargetSpec, traffic: &Traffic) -> Vec<Phase> {
    if !root.has("phase") {
        root.missing("phase", "[[phase]] with name = \"steady\" and lasts = \"20s\"");
    }
    let mut taken = Vec::new();
    let sections = root.sections("phase", "phase", schema::PHASE);
    sections.iter().map(|section| phase(section, stack, target, traffic, &mut taken)).collect()
}

fn phase(
    section: &Section<'_>,
    stack: &StackSpec,
    target: &TargetSpec,
    traffic: &Traffic,
    taken: &mut Vec<String>,
) -> Phase {
    let name = name(section, "steady", taken);
    let path = section.one_of("path", &[("cached", Path::Cached), ("uncached", Path::Uncached)]);
    if let Some(uncached) = path.as_ref().filter(|path| path.value == Path::Uncached && target.bypass.is_none()) {
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
    if let Some(span) = section.key_span("rate").filter(|_| matches!(traffic.drive, Drive::Closed { .. })) {
        let help = "leave it out, or drive with rate instead of users in [traffic]";
        let message = "users send when they were answered, so a phase has no rate";
        section.problems.add(Problem::new(message).at(span).help(help));
    }
    let fault = section.section("fault", "fault", schema::FAULT).and_then(|fault| {
        if warm_up {
            let help = "put the fault in a phase behind the warm-up";
            let message = "a warm-up ends when the hit rate is level, so nothing can be broken in it";
            section.problems.add(Problem::new(message).at(fault.span.clone()).help(help));
        }
        self::fault(&fault, lasts, stack, target)
    });
    Phase {
        name,
        path: path.map_or(Path::Cached, |path| path.value),
        lasts: lasts.unwrap_or_default(),
        warm_up,
        rate,
        fault,
    }
}

fn fault(section: &Section<'_>, phase: Option<Duration>, stack: &StackSpec, target: &TargetSpec) -> Option<FaultSpec> {
    let victims = [("redis", Victim::Redis), ("postgres", Victim::Postgres), ("app", Victim::App)];
    let (key, action) = match (section.has("kill"), section.has("pause")) {
        (true, false) => ("kill", FaultAction::Kill),
        (false, true) => ("pause", FaultAction::Pause),
        (true, true) => {
            let span = section.key_span("pause").unwrap_or_default();
            let help = "keep one of kill and pause; another fault takes another phase";
            section.problems.add(Problem::new("a phase has one fault").at(span).help(help));
            return None;
        }
        (false, false) => {
            section.missing("kill", "kill = \"redis\" or pause = \"redis\"");
            return None;
        }
    };
    let victim = section.one_of(key, &victims);
    if let Some(victim) = &victim {
        let server = |provider: Option<Provider>, table: &str| match provider {
            None => Some((format!("there is no {table} to {key}"), format!("add [stack.{table}]"))),
            Some(Provider::External) => Some((
                format!("cacheproof never breaks an external server, and {table} is one"),
                format!("let cacheproof start it: provider = \"auto\" in [stack.{table}]"),
            )),
            Some(_) => None,
        };
        let problem = match victim.value {
            Victim::Redis => server(stack.redis.as_ref().map(|redis| redis.provider), "redis"),
            Victim::Postgres => server(stack.postgres.as_ref().map(|postgres| postgres.provider), "postgres"),
            Victim::App => (!target.is_started()).then(|| {
                let message = "cacheproof breaks only an app that it started".to_owned();
                (message, "add start = [\"program\", \"argument\"] to [target]".to_owned())
            }),
        };
        if let Some((message, help)) = problem {
            section.problems.add(Problem::new(message).at(victim.span.clone()).help(help));
        }
    }
    let after = section.time("after", true, "after = \"2s\"");
    let lasts = section.time("lasts", false, "lasts = \"5s\"");
    let begins = after.as_ref().map_or(Duration::ZERO, |after| after.value);
    let ends = begins + lasts.as_ref().map_or(Duration::ZERO, |lasts| lasts.value);
    if let Some(phase) = phase.filter(|phase| begins >= *phase || ends > *phase) {
        let key = if begins >= phase { "after" } else { "lasts" };
        let span = section.get(key).map_or(section.span.clone(), |value| value.span());
        let message = format!("the fault goes beyond its phase, which lasts {}", super::Quantity::Time(phase));
        let help = "after + lasts must fit into the phase; without lasts a fault is held to the phase's end";
        section.problems.add(Problem::new(message).at(span).help(help));
    }
    Some(FaultSpec { action, victim: victim?.value, after: begins, lasts: lasts.map(|lasts| lasts.value) })
}
