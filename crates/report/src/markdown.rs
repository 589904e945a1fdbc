//! report.md: for job summaries and pull-request comments, which allow 64 KiB and headings from h3 on.

use cacheproof_core::journal::ServerFacts;
use cacheproof_core::numbers;
use cacheproof_verdict::{Ruling, Verdict};

use super::ReportInput;
use super::faults::fault_summaries;
use super::markdown_stale::stale;
use super::request_stats::{ComparisonRow, errors, or_dash, redis_lookups, request_stats};
use super::text::{code, fence, lines, markdown, one_line, render_code_spans};

/// Room for a comment's 65 536 characters with something around it.
pub(super) const MAX_BYTES: usize = 60_000;

/// More faults than these are counted, not listed: a page that is cut loses the whole table.
const MAX_FAULTS: usize = 40;

/// The whole page in at most `most` bytes: sections that do not fit are left out whole, verdict first.
pub(super) fn page(view: &ReportInput<'_>, most: usize) -> String {
    let sections = [
        verdict(view),
        criteria_within(view.verdict, most / 2),
        compared(view),
        validity(view),
        phases(view),
        faults(view),
        stale(view),
        examples(view),
        environment(view),
        reproduce(view),
    ];
    let note = "\n_Shortened: the rest is in report.html._\n";
    let mut page = String::new();
    let mut shortened = false;
    for section in sections.into_iter().filter(|section| !section.is_empty()) {
        if page.len() + section.len() + 1 + note.len() > most {
            shortened = true;
            continue;
        }
        if !page.is_empty() {
            page.push('\n');
        }
        page.push_str(&section);
    }
    if shortened { page + note } else { page }
}

/// The sign of a ruling as Markdown shows it everywhere.
pub(super) fn sign(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Pass => "✅ pass",
        Ruling::Inconclusive => "⚠️ inconclusive",
        Ruling::Fail => "❌ fail",
    }
}

fn verdict(view: &ReportInput<'_>) -> String {
    let mut text = format!("### {}: {}\n\n", sign(view.verdict.ruling), markdown(&view.scenario.title, 200));
    text += &format!("{}\n", markdown(&view.verdict.summary, 400));
    if let Some(start) = &view.seen.start {
        let git = if start.git.is_empty() { String::new() } else { format!(", commit {}", code(&start.git, 60)) };
        text += &format!("\nRun {} of {}{git}.\n", code(&start.run_id, 100), markdown(&start.started_at, 40));
    }
    text
}

/// As many criteria as fit into `bytes`: a table that is cut says how many it lacks, one that is missing says nothing.
fn criteria_within(verdict: &Verdict, bytes: usize) -> String {
    let mut most = verdict.criteria.len();
    loop {
        let table = criteria(verdict, most);
        if table.len() <= bytes || most <= 1 {
            return table;
        }
        most = (most * bytes / table.len()).clamp(1, most - 1);
    }
}

/// The criteria as a table, each with its evidence. Also what a story gets.
pub(super) fn criteria(verdict: &Verdict, most: usize) -> String {
    let mut text = "| | Criterion | Evidence |\n|---|---|---|\n".to_owned();
    for criterion in verdict.criteria.iter().take(most) {
        let rules = criterion.rules.iter().map(|rule| {
            // With one rule its ruling is the criterion's; with more each shows its own sign.
            let sign = sign(rule.ruling).split(' ').next().filter(|_| criterion.rules.len() > 1);
            let sign = sign.map_or_else(String::new, |sign| format!("{sign} "));
            format!("{sign}{} — {}", code(&rule.text, 200), markdown(&rule.evidence, 300))
        });
        let test = criterion.evidence().split_off(criterion.rules.len());
        let prose =
            |line: &str| render_code_spans(&one_line(line, 600), |text| markdown(text, 300), |piece| code(piece, 200));
        let all: Vec<String> = rules.chain(test.iter().map(|line| prose(line))).collect();
        text += &format!("| {} | {} | {} |\n", sign(criterion.ruling), prose(&criterion.says), all.join("<br>"));
    }
    if verdict.criteria.len() > most {
        text += &format!("\n…and {} more.\n", verdict.criteria.len() - most);
    }
    text
}

fn compared(view: &ReportInput<'_>) -> String {
    let lines = view.path_comparison.lines();
    if lines.is_empty() {
        return String::new();
    }
    let names = |names: &[String]| names.iter().map(|name| markdown(name, 60)).collect::<Vec<_>>().join(", ");
    let head = |path: &str, phases: &[String]| match phases {
        [] => path.to_owned(),
        [only] if only == path => path.to_owned(),
        phases => format!("{path} ({})", names(phases)),
    };
    let mut text = format!(
        "### Cached beside uncached\n\n| | {} | {} | |\n|---|---:|---:|---|\n",
        head("uncached", &view.path_comparison.uncached_phases),
        head("cached", &view.path_comparison.cached_phases)
    );
    for ComparisonRow { name, uncached, cached, change } in lines {
        text += &format!("| {name} | {uncached} | {cached} | {change} |\n");
    }
    text
}

fn validity(view: &ReportInput<'_>) -> String {
    let mut text = "### What makes this run valid or not\n\n".to_owned();
    for finding in &view.verdict.validity {
        let mark = if finding.blocking { "⚠️ " } else { "" };
        text += &format!("- {mark}{}\n", markdown(&finding.text, 600));
    }
    if view.verdict.validity.is_empty() { String::new() } else { text }
}

fn phases(view: &ReportInput<'_>) -> String {
    let mut text = "<details><summary>Phases</summary>\n\n| Phase | Path | Requests | P50 | P95 | P99 | Hit rate | \
                    Queries a request | Errors |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for index in view.seen.phases.keys() {
        let Some(phase) = view.scenario.phases.get(*index) else { continue };
        let request_stats = request_stats(view.scenario, view.seen, &[*index], |_| true);
        text += &format!(
            "| {}{} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            markdown(&phase.name, 60),
            if phase.warm_up { " (warm-up)" } else { "" },
            phase.path.as_str(),
            numbers::count(request_stats.requests),
            or_dash(request_stats.p50, numbers::time),
            or_dash(request_stats.p95, numbers::time),
            or_dash(request_stats.p99, numbers::time),
            or_dash(request_stats.hit_rate, numbers::share),
            or_dash(request_stats.db_queries_per_request, numbers::plain),
            errors(&request_stats)
        );
    }
    let redis = redis_lookups(view.scenario, view.seen);
    if !redis.is_empty() {
        text.push('\n');
    }
    for (phase, said) in redis {
        text += &format!("- {}: {}\n", markdown(view.phase_name(phase), 60), markdown(&said, 300));
    }
    if view.seen.phases.is_empty() { String::new() } else { text + "\n</details>\n" }
}

fn faults(view: &ReportInput<'_>) -> String {
    let fault_summaries = fault_summaries(view);
    if fault_summaries.is_empty() {
        return String::new();
    }
    let mut text =
        "### Faults\n\n| # | What was broken | Where, when | Lasted | Promised | Noticed by users | Available | \
                    Bad answers | Service back | Hit rate back |\n|---:|---|---|---:|---|---|---:|---:|---|---|\n"
            .to_owned();
    for fault in fault_summaries.iter().take(MAX_FAULTS) {
        let promised: Vec<String> = fault
            .promised
            .iter()
            .map(|(ruling, rule)| {
                let sign = sign(*ruling).split(' ').next().unwrap_or_default();
                format!("{sign} {}", code(rule, 120))
            })
            .collect();
        text += &format!(
            "| {} | {} | {}, {} | {} | {} | {} | {} | {} | {} | {} |\n",
            fault.number,
            markdown(&fault.outcome.window.what, 60),
            markdown(fault.phase, 60),
            numbers::moment(fault.outcome.window.from),
            fault.lasted,
            if promised.is_empty() { "nothing".to_owned() } else { promised.join("<br>") },
            fault.noticed,
            fault.availability,
            fault.bad,
            fault.recovered,
            fault.hit_rate
        );
    }
    if fault_summaries.len() > MAX_FAULTS {
        text += &format!("\n…and {} more.\n", fault_summaries.len() - MAX_FAULTS);
    }
    let hints: Vec<String> = fault_summaries
        .iter()
        .take(MAX_FAULTS)
        .flat_map(|fault| fault.outcome.hints.iter().map(move |hint| (fault, hint)))
        .map(|(fault, hint)| {
            format!("- {} {}: {}\n", fault.number, markdown(&fault.outcome.window.what, 60), markdown(hint, 300))
        })
        .collect();
    if !hints.is_empty() {
        text += &format!("\n{}", hints.concat());
    }
    text
}

fn examples(view: &ReportInput<'_>) -> String {
    if view.seen.examples.is_empty() {
        return String::new();
    }
    let mut text = "<details><summary>Examples of trouble</summary>\n\n".to_owned();
    for example in view.seen.examples.iter().take(20) {
        text += &format!(
            "- {} in '{}': {} — {}\n",
            markdown(&example.kind, 20),
            markdown(view.phase_name(example.phase), 60),
            code(&example.request, 160),
            markdown(&example.detail, 300)
        );
    }
    text + "\n</details>\n"
}

/// How many servers there are of it, where it is not one.
fn several(server: &ServerFacts) -> String {
    let count = |role: &str| match server.nodes.iter().filter(|node| node.role == role).count() {
        0 => None,
        1 => Some(format!("1 {role}")),
        many => Some(format!("{many} {role}s")),
    };
    let counts: Vec<String> = ["master", "replica", "sentinel"].into_iter().filter_map(count).collect();
    if server.nodes.len() < 2 { String::new() } else { format!(" ({}: {})", server.topology, counts.join(", ")) }
}

fn environment(view: &ReportInput<'_>) -> String {
    let mut lines = Vec::new();
    if let Some(start) = &view.seen.start {
        let host = &start.host;
        lines.push(format!(
            "- Machine: {}, {} cores, {}, {}",
            markdown(&host.cpu, 100),
            host.cores,
            numbers::bytes(host.memory as f64),
            markdown(&host.kernel, 100)
        ));
    }
    if let Some(stack) = &view.seen.stack {
        for (name, server) in [("Redis", &stack.redis), ("Postgres", &stack.postgres)] {
            let Some(server) = server else { continue };
            let settings: Vec<String> =
                server.settings.iter().map(|(name, value)| code(&format!("{name} {value}"), 120)).collect();
            lines.push(format!(
                "- {name} {}{}, {}: {}. {}",
                markdown(&server.version, 60),
                several(server),
                markdown(&server.provider, 20),
                markdown(server.why.trim_end_matches('.'), 200),
                settings.join(", ")
            ));
        }
    }
    if let Some(target) = &view.seen.target {
        lines.push(format!("- App: {}", markdown(&target.what, 200)));
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("<details><summary>Environment</summary>\n\n{}\n\n</details>\n", lines.join("\n"))
}

fn reproduce(view: &ReportInput<'_>) -> String {
    let Some(start) = &view.seen.start else { return String::new() };
    let scenario = lines(&start.scenario);
    let (command, fence) = (lines(&start.command), fence(&format!("{}{scenario}", start.command)));
    format!(
        "<details><summary>How to reproduce</summary>\n\n{fence}sh\n{}\n{fence}\n\nSeed {}, cacheproof {}. {}:\n\n\
         {fence}toml\n{}\n{fence}\n\n</details>\n",
        command.trim_end(),
        view.scenario.seed,
        markdown(&start.cacheproof, 40),
        code(&start.scenario_name, 200),
        scenario.trim_end()
    )
}
