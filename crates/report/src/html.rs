//! report.html: one file that needs no network and no JavaScript, with its figures inline.

use cacheproof_core::numbers;
use cacheproof_verdict::Ruling;

use super::ReportInput;
use super::charts::{Svg, style};
use super::html_stale::stale;
use super::html_tables::{examples, faults, outcomes, phases, requests, servers};
use super::request_stats::ComparisonRow;
use super::text::{escape, one_line, render_code_spans, with_nonbreaking_spaces};

/// Nothing may be loaded, run or sent; the page's own style is all there is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const CSS: &str = include_str!("../assets/report.css");
/// Names and sentences from outside are shortened to these lengths.
const MAX_NAME_CHARS: usize = 120;
const MAX_SENTENCE_CHARS: usize = 600;

pub(super) fn page(view: &ReportInput<'_>, charts: &[Svg]) -> String {
    let word = view.verdict.ruling.as_str();
    let title = name(&view.scenario.title);
    let charts: String =
        charts.iter().map(|svg| format!("<div class=\"scroll\">{}</div>\n", svg.inline.trim_end())).collect();
    let charts = match charts.as_str() {
        "" => "<p class=\"muted\">The run broke off before its first phase: there is nothing to draw.</p>".to_owned(),
        charts => format!("<div class=\"charts\">\n{charts}</div>"),
    };
    let sections = [
        head(view),
        format!(
            "<div class=\"first\">\n{}<div>\n{}{}</div>\n</div>\n",
            section("Acceptance criteria", &criteria(view)),
            section("Cached beside uncached", &compared(view)),
            section("What makes this run valid or not", &validity(view)),
        ),
        section("Over time", &charts),
        section("Faults", &faults(view)),
        section("Phases", &phases(view)),
        section("Outcomes", &outcomes(view)),
        section("Stale reads", &stale(view)),
        section("Examples of trouble", &examples(view)),
        section("Servers and machine", &servers(view)),
        details("Each kind of request", &requests(view)),
        details("How to reproduce", &reproduce(view)),
        footer(view),
    ];
    document(&format!("{word}: {title}"), &sections.concat())
}

/// A whole page around a body.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{CSS}{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        style()
    )
}

/// A name from outside: one line, shortened, escaped.
pub(super) fn name(text: &str) -> String {
    escape(&one_line(text, MAX_NAME_CHARS))
}

/// A sentence from outside, in which no number is parted from its unit or its thousands by a line end.
pub(super) fn sentence(text: &str) -> String {
    escape(&with_nonbreaking_spaces(&one_line(text, MAX_SENTENCE_CHARS)))
}

pub(super) fn section(title: &str, body: &str) -> String {
    if body.is_empty() { String::new() } else { format!("<section>\n<h2>{title}</h2>\n{body}\n</section>\n") }
}

fn details(title: &str, body: &str) -> String {
    if body.is_empty() { String::new() } else { format!("<details>\n<summary>{title}</summary>\n{body}\n</details>\n") }
}

/// Sign and word of a ruling.
pub(super) fn ruling(ruling: Ruling) -> String {
    format!("{}&nbsp;{}", ruling.sign(), ruling.as_str())
}

fn head(view: &ReportInput<'_>) -> String {
    let verdict = view.verdict;
    let class = verdict.ruling.as_str();
    let mut facts = Vec::new();
    if let Some(start) = &view.seen.start {
        facts.push(format!("<time datetime=\"{0}\">{0}</time>", name(&start.started_at)));
        facts.push(format!("{} long", numbers::moment(view.seen.last_at.round())));
        facts.push(format!("{}, {} cores, {}", name(&start.host.cpu), start.host.cores, name(&start.host.kernel)));
        if !start.git.is_empty() {
            facts.push(format!("commit <code>{}</code>", name(&start.git)));
        }
        facts.push(format!("run <code>{}</code>", name(&start.run_id)));
    }
    format!(
        "<header>\n<div class=\"head {class}\"><div class=\"verdict {class}\">{} {}</div>\n<div><h1><bdi>{}</bdi></h1>\
         <p>{}</p></div></div>\n<p class=\"facts\">{}</p>\n</header>\n",
        verdict.ruling.sign(),
        class.to_uppercase(),
        name(&view.scenario.title),
        sentence(&verdict.summary),
        facts.join(" · ")
    )
}

fn criteria(view: &ReportInput<'_>) -> String {
    let mut html = "<ol class=\"criteria\">\n".to_owned();
    for criterion in &view.verdict.criteria {
        let class = criterion.ruling.as_str();
        let rules = criterion.rules.iter().map(|rule| {
            // With one rule its ruling is the criterion's; with more each shows its own.
            let sign = if criterion.rules.len() > 1 {
                format!("<span class=\"{0}\" title=\"{0}\">{1}</span> ", rule.ruling.as_str(), rule.ruling.sign())
            } else {
                String::new()
            };
            format!("<p>{sign}{}<br><code>{}</code></p>", sentence(&rule.evidence), escape(&one_line(&rule.text, 200)))
        });
        let test = criterion.evidence().split_off(criterion.rules.len());
        let code = |test: &str| format!("<code>{}</code>", escape(&one_line(test, 200)));
        let prose = |line: &str| render_code_spans(&one_line(line, MAX_SENTENCE_CHARS), sentence, code);
        let test = test.iter().map(|line| format!("<p>{}</p>", prose(line)));
        html += &format!(
            "<li><span class=\"ruling {class}\">{}</span><div><div class=\"says\"><bdi>{}</bdi></div>\
             <div class=\"evidence\">{}</div></div></li>\n",
            ruling(criterion.ruling),
            prose(&criterion.says),
            rules.chain(test).collect::<String>()
        );
    }
    if view.verdict.criteria.is_empty() { String::new() } else { html + "</ol>" }
}

fn compared(view: &ReportInput<'_>) -> String {
    let lines = view.path_comparison.lines();
    if lines.is_empty() {
        return String::new();
    }
    let head = |path: &str, phases: &[String]| {
        let names: Vec<String> = phases.iter().map(|phase| escape(&one_line(phase, 40))).collect();
        match names.as_slice() {
            [] => path.to_owned(),
            // A phase that is called as the path says nothing new.
            [only] if only == path => path.to_owned(),
            names => format!("{path}<br><bdi class=\"phases\">{}</bdi>", names.join(", ")),
        }
    };
    let mut html = format!(
        "<div class=\"scroll\"><table>\n<thead><tr><th></th><th class=\"n\">{}</th><th class=\"n\">{}</th><th></th></tr>\
         </thead>\n<tbody>\n",
        head("uncached", &view.path_comparison.uncached_phases),
        head("cached", &view.path_comparison.cached_phases)
    );
    for ComparisonRow { name, uncached, cached, change } in lines {
        html += &format!(
            "<tr><th>{name}</th><td class=\"n\">{uncached}</td><td class=\"n\">{cached}</td><td class=\"word\">{}</td></tr>\n",
            sentence(&change)
        );
    }
    html + "</tbody></table></div>"
}

fn validity(view: &ReportInput<'_>) -> String {
    let findings = &view.verdict.validity;
    if findings.is_empty() {
        return String::new();
    }
    let blocking = findings.iter().any(|finding| finding.blocking);
    let mut sorted: Vec<_> = findings.iter().collect();
    sorted.sort_by_key(|finding| !finding.blocking);
    let lines: String = sorted
        .iter()
        .map(|finding| {
            let mark = if finding.blocking { "<strong class=\"inconclusive\">? doubtful:</strong> " } else { "" };
            format!("<li>{mark}{}</li>\n", sentence(&finding.text))
        })
        .collect();
    let (class, word) = if blocking {
        (" grave", "<p><strong class=\"inconclusive\">This run does not prove everything it should.</strong></p>")
    } else {
        ("", "<p>Nothing was found that puts this run in doubt.</p>")
    };
    format!("<div class=\"box{class}\">{word}<ul>\n{lines}</ul></div>")
}

fn reproduce(view: &ReportInput<'_>) -> String {
    let Some(start) = &view.seen.start else { return String::new() };
    let git = if start.git.is_empty() { String::new() } else { format!(", commit <code>{}</code>", name(&start.git)) };
    format!(
        "<pre>{}</pre>\n<p>Seed {}, cacheproof {}{git}. The same seed gives the same keys, order and arrival times. The \
         scenario as it was run, <code>{}</code>:</p>\n<pre>{}</pre>",
        escape(&start.command),
        view.scenario.seed,
        name(&start.cacheproof),
        name(&start.scenario_name),
        escape(start.scenario.trim_end())
    )
}

fn footer(view: &ReportInput<'_>) -> String {
    let version = view.seen.start.as_ref().map_or("", |start| &start.cacheproof);
    format!(
        "<footer>cacheproof {}. Response time runs from the moment a request was due to the last byte of its body. \
         Percentiles are of all answers, errors among them. Warm-up is not judged.</footer>\n",
        name(version)
    )
}
