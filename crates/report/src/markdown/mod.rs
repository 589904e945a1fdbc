//! report.md: for job summaries and pull-request comments, which allow 64 KiB. Headings start at h3.

mod stale;

use cacheproof_core::numbers;
use cacheproof_verdict::Ruling;

use super::text::{Span, code, fence, lines, markdown, one_line, spans};
use super::view::{ComparisonRow, Criterion, FaultRow, Figures, View, topology};

/// A comment may have 65 536 characters; the rest is for text around the page.
pub(super) const MAX_BYTES: usize = 60_000;

/// More faults than these are counted, not listed: a page that is cut loses the whole table.
const MAX_FAULTS: usize = 40;

/// The whole page in at most `most` bytes: sections that do not fit are left out whole, verdict first.
pub(super) fn page(view: &View<'_>, most: usize) -> String {
    let sections = [
        verdict(view),
        criteria_within(&view.criteria, most / 2),
        comparison(view),
        validity(view),
        phases(view),
        faults(view),
        stale::stale(view),
        examples(view),
        statements(view),
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

/// Sign and word of a ruling.
pub(super) fn sign(ruling: Ruling) -> String {
    format!("{} {}", short_sign(ruling), ruling.as_str())
}

fn short_sign(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Claimed => "⬜",
        Ruling::Pass => "✅",
        Ruling::Inconclusive => "⚠️",
        Ruling::Fail => "❌",
    }
}

fn verdict(view: &View<'_>) -> String {
    let mut text = format!("### {}: {}\n\n", sign(view.ruling), markdown(view.title, 200));
    text += &format!("{}\n", markdown(view.summary, 400));
    if let Some(start) = view.start {
        let git = if start.git.is_empty() { String::new() } else { format!(", commit {}", code(&start.git, 60)) };
        text += &format!("\nRun {} of {}{git}.\n", code(&start.run_id, 100), markdown(&start.started_at, 40));
    }
    text
}

/// As many criteria as fit into `bytes`, and how many are left out.
fn criteria_within(criteria: &[Criterion<'_>], bytes: usize) -> String {
    let mut most = criteria.len();
    loop {
        let table = criteria_table(criteria, most);
        if table.len() <= bytes || most <= 1 {
            return table;
        }
        most = (most * bytes / table.len()).clamp(1, most - 1);
    }
}

/// The criteria as a table, each with its evidence. Also what a story gets.
pub(super) fn criteria_table(criteria: &[Criterion<'_>], most: usize) -> String {
    let mut text = "| | Criterion | Evidence |\n|---|---|---|\n".to_owned();
    for criterion in criteria.iter().take(most) {
        let rules = criterion.rules.iter().map(|rule| {
            let sign =
                if criterion.has_several_rules() { format!("{} ", short_sign(rule.ruling)) } else { String::new() };
            format!("{sign}{} — {}", code(&rule.text, 200), markdown(&rule.evidence, 300))
        });
        let evidence: Vec<String> =
            rules.chain(criterion.other_evidence.iter().map(|evidence| prose(evidence))).collect();
        text += &format!("| {} | {} | {} |\n", sign(criterion.ruling), prose(criterion.says), evidence.join("<br>"));
    }
    if criteria.len() > most {
        text += &format!("\n…and {} more.\n", criteria.len() - most);
    }
    text
}

/// A sentence with code between backticks.
fn prose(text: &str) -> String {
    let line = one_line(text, 600);
    let show = |span: &Span<'_>| match span {
        Span::Text(text) => markdown(text, 300),
        Span::Code(text) => code(text, 200),
        Span::Space => " ".to_owned(),
    };
    spans(&line).iter().map(show).collect()
}

fn comparison(view: &View<'_>) -> String {
    let rows = view.comparison.lines();
    if rows.is_empty() {
        return String::new();
    }
    let heading = |(path, phases): (&str, &[String])| {
        let names: Vec<String> = phases.iter().map(|name| markdown(name, 60)).collect();
        if names.is_empty() { path.to_owned() } else { format!("{path} ({})", names.join(", ")) }
    };
    let [uncached, cached] = view.comparison.columns().map(heading);
    let mut text = format!("### Cached and uncached\n\n| | {uncached} | {cached} | |\n|---|---:|---:|---|\n");
    for ComparisonRow { name, uncached, cached, change } in rows {
        text += &format!("| {name} | {uncached} | {cached} | {change} |\n");
    }
    text
}

fn validity(view: &View<'_>) -> String {
    let mut text = "### Validity of this run\n\n".to_owned();
    for finding in view.findings {
        let mark = if finding.blocking { "⚠️ " } else { "" };
        text += &format!("- {mark}{}\n", markdown(&finding.text, 600));
    }
    if view.findings.is_empty() { String::new() } else { text }
}

fn phases(view: &View<'_>) -> String {
    let mut text = "<details><summary>Phases</summary>\n\n| Phase | Path | Requests | P50 | P95 | P99 | Hit rate | \
                    Queries per request | Errors |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for phase in &view.phases {
        let Figures { requests, p50, p95, p99, hit_rate, queries_per_request, errors, .. } = &phase.figures;
        text += &format!(
            "| {}{} | {} | {requests} | {p50} | {p95} | {p99} | {hit_rate} | {queries_per_request} | {errors} |\n",
            markdown(phase.name, 60),
            if phase.warm_up { " (warm-up)" } else { "" },
            phase.path.as_str(),
        );
    }
    if !view.redis_lookups.is_empty() {
        text.push('\n');
    }
    for (phase, counts) in &view.redis_lookups {
        text += &format!("- {}: {}\n", markdown(phase, 60), markdown(counts, 300));
    }
    if view.phases.is_empty() { String::new() } else { text + "\n</details>\n" }
}

fn statements(view: &View<'_>) -> String {
    let Some(statements) = &view.statements else { return String::new() };
    let mut text = format!(
        "<details><summary>Statements of the database</summary>\n\n{}\n\n| The ten most frequent | Executed | Share |\n|---|---:|---:|\n",
        markdown(&statements.sentence, 600)
    );
    for (statement, calls, share) in &statements.rows {
        text += &format!("| {} | {calls} | {share} |\n", code(statement, 200));
    }
    text + "\n</details>\n"
}

fn faults(view: &View<'_>) -> String {
    let rows = &view.faults.rows;
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        "### Faults\n\n| # | What was broken | Where, when | Lasted | Promised | Noticed by users | Available | \
                    Bad answers | Service back | Hit rate back |\n|---:|---|---|---:|---|---|---:|---:|---|---|\n"
            .to_owned();
    for fault in rows.iter().take(MAX_FAULTS) {
        let rules = fault.promised.iter().map(|(ruling, rule)| format!("{} {}", short_sign(*ruling), code(rule, 120)));
        let rules: Vec<String> = rules.collect();
        let FaultRow { number, at, lasted, noticed, availability, bad, recovered, hit_rate, .. } = fault;
        text += &format!(
            "| {number} | {} | {}, {at} | {lasted} | {} | {noticed} | {availability} | {bad} | {recovered} | {hit_rate} |\n",
            markdown(fault.what, 60),
            markdown(fault.phase, 60),
            if rules.is_empty() { "nothing".to_owned() } else { rules.join("<br>") },
        );
    }
    if rows.len() > MAX_FAULTS {
        text += &format!("\n…and {} more.\n", rows.len() - MAX_FAULTS);
    }
    let hints = view.faults.hints(MAX_FAULTS);
    let hints: String = hints
        .map(|(fault, hint)| format!("- {} {}: {}\n", fault.number, markdown(fault.what, 60), markdown(hint, 300)))
        .collect();
    if hints.is_empty() { text } else { format!("{text}\n{hints}") }
}

fn examples(view: &View<'_>) -> String {
    if view.examples.is_empty() {
        return String::new();
    }
    let mut text = "<details><summary>Examples of problems</summary>\n\n".to_owned();
    for example in view.examples.iter().take(20) {
        text += &format!(
            "- {} in '{}': {} — {}\n",
            markdown(example.kind, 20),
            markdown(example.phase, 60),
            code(example.request, 160),
            markdown(example.detail, 300)
        );
    }
    text + "\n</details>\n"
}

fn environment(view: &View<'_>) -> String {
    let environment = &view.environment;
    let mut lines = Vec::new();
    if let Some(host) = environment.host {
        lines.push(format!(
            "- Machine: {}, {} cores, {}, {}",
            markdown(&host.cpu, 100),
            host.cores,
            numbers::bytes(host.memory as f64),
            markdown(&host.kernel, 100)
        ));
    }
    for (name, server) in &environment.servers {
        let settings = server.settings.iter().map(|(name, value)| code(&format!("{name} {value}"), 120));
        lines.push(format!(
            "- {name} {}{}, {}: {}. {}",
            markdown(&server.version, 60),
            topology(server).map_or_else(String::new, |topology| format!(" ({})", markdown(&topology, 100))),
            markdown(&server.provider, 20),
            markdown(server.why.trim_end_matches('.'), 200),
            settings.collect::<Vec<_>>().join(", ")
        ));
    }
    lines.extend(environment.app.map(|app| format!("- App: {}", markdown(&app.what, 200))));
    if lines.is_empty() {
        return String::new();
    }
    format!("<details><summary>Environment</summary>\n\n{}\n\n</details>\n", lines.join("\n"))
}

fn reproduce(view: &View<'_>) -> String {
    let Some(start) = view.start else { return String::new() };
    let scenario = lines(&start.scenario);
    let (command, fence) = (lines(&start.command), fence(&format!("{}{scenario}", start.command)));
    format!(
        "<details><summary>How to reproduce</summary>\n\n{fence}sh\n{}\n{fence}\n\nSeed {}, cacheproof {}. {}:\n\n\
         {fence}toml\n{}\n{fence}\n\n</details>\n",
        command.trim_end(),
        view.seed,
        markdown(&start.cacheproof, 40),
        code(&start.scenario_name, 200),
        scenario.trim_end()
    )
}
