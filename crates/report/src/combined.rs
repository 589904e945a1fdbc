//! Several runs on one page: what each proved, and every fault of all of them in one table a run.

use cacheproof_core::journal::Outcome;
use cacheproof_core::numbers;
use cacheproof_verdict::Ruling;

use super::html::{document, name, ruling, section, sentence};
use super::html_tables::faults;
use super::stale::stale_summary;
use super::text::escape;
use super::{JudgedRun, ReportInput, path_comparison};

/// One HTML page over all runs, each with where its own report lies as seen from the page. Needs no network and no JavaScript.
pub fn combined_page(runs: &[(String, JudgedRun)]) -> String {
    let worst = runs.iter().map(|(_, judged)| judged.verdict.ruling).max();
    let word = worst.map_or("no run", Ruling::as_str);
    let lines: String = runs.iter().map(|(link, judged)| line(link, judged)).collect();
    let table = format!(
        "<div class=\"scroll\"><table>\n<thead><tr><th>Run</th><th>Verdict</th><th class=\"n\">Faults</th><th class=\"n\">Requests</th>\
         <th class=\"n\">Answered</th><th class=\"n\">Judged reads</th><th class=\"n\">Stale</th><th class=\"n\">Wrong</th></tr></thead>\n\
         <tbody>\n{lines}</tbody></table></div>\n<p class=\"muted\">Warm-up is left out; judged, stale and wrong: probe reads among them.</p>"
    );
    let each: String = runs.iter().map(|(_, judged)| run(judged)).collect();
    let head = format!(
        "<header>\n<div class=\"head {word}\"><div class=\"verdict {word}\">{} {}</div>\n<div><h1>{} runs together</h1></div></div>\n</header>\n",
        worst.map_or("", Ruling::sign),
        word.to_uppercase(),
        runs.len()
    );
    document(&format!("{word}: {} runs", runs.len()), &format!("{head}{}{each}", section("Runs", &table)))
}

fn line(link: &str, judged: &JudgedRun) -> String {
    let JudgedRun { scenario, seen, verdict } = judged;
    let count = |outcome: Outcome| seen.count(|key| scenario.is_judged(key.phase) && key.outcome == outcome);
    let (errors, wrong) = (count(Outcome::Error), count(Outcome::Wrong));
    let wrong = wrong + seen.freshness(|key| scenario.is_judged(key.phase)).probes_wrong;
    let requests = seen.total(|key| scenario.is_judged(key.phase)).count();
    let view = ReportInput { scenario, seen, verdict, path_comparison: path_comparison(scenario, seen) };
    let (stale, reads) =
        stale_summary(&view).map_or((0, 0), |stale_summary| (stale_summary.stale, stale_summary.judged));
    let answered = if requests == 0 { "–".to_owned() } else { numbers::share(1.0 - errors as f64 / requests as f64) };
    format!(
        "<tr><th><a href=\"{}\"><bdi>{}</bdi></a></th><td class=\"{}\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{answered}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
        escape(link),
        name(&scenario.title),
        verdict.ruling.as_str(),
        ruling(verdict.ruling),
        verdict.faults.len(),
        numbers::count(requests),
        numbers::count(reads),
        numbers::count(stale),
        numbers::count(wrong),
    )
}

fn run(judged: &JudgedRun) -> String {
    let JudgedRun { scenario, seen, verdict } = judged;
    let view = ReportInput { scenario, seen, verdict, path_comparison: path_comparison(scenario, seen) };
    let failed: String = verdict
        .criteria
        .iter()
        .filter(|criterion| criterion.ruling != Ruling::Pass)
        .map(|criterion| format!("<li>{}: {}</li>\n", ruling(criterion.ruling), sentence(&criterion.says)))
        .collect();
    let failed = if failed.is_empty() { failed } else { format!("<ul>\n{failed}</ul>\n") };
    section(&name(&scenario.title), &format!("<p>{}</p>\n{failed}{}", sentence(&verdict.summary), faults(&view)))
}
