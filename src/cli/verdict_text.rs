//! The verdict for the terminal: at most 100 columns, in colour where the terminal has it.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

use crate::report::{HTML_FILE, JudgedRun, one_line, path_comparison, with_nonbreaking_spaces};
use crate::verdict::Ruling;

const WIDTH: usize = 100;
/// More faults and hints than these are only in the report.
const MAX_FAULTS: usize = 12;
const MAX_HINTS: usize = 2;

/// The verdict of a run, in colour if stdout is a terminal and `NO_COLOR` is not set.
pub fn verdict_lines(judged: &JudgedRun, directory: &Path) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    block(judged, directory, colour)
}

/// The verdict block.
fn block(judged: &JudgedRun, directory: &Path, colour: bool) -> String {
    let paint = Paint(colour);
    let verdict = &judged.verdict;
    let mut text = String::from("\n");
    let head = format!("{} {}", verdict.ruling.sign(), verdict.ruling.as_str().to_uppercase());
    let title = one_line(&judged.scenario.title, WIDTH - head.chars().count() - 2);
    push_line(&mut text, &format!("{}  {}", paint.ruling(verdict.ruling, &head), paint.bold(&title)));
    push_wrapped(&mut text, "  ", "  ", &verdict.summary);
    text.push('\n');

    for criterion in &verdict.criteria {
        let sign = paint.ruling(criterion.ruling, criterion.ruling.sign());
        let says = one_line(&criterion.says, WIDTH - 4);
        push_line(&mut text, &format!("  {sign} {}", paint.bold(&says)));
        for (index, line) in criterion.evidence().iter().enumerate() {
            let rule = criterion.rules.get(index);
            let sign = rule.map_or(" ", |rule| rule.ruling.sign());
            // With the rule's text: four hit rates look alike.
            let line = rule.map_or_else(|| line.clone(), |rule| format!("{line} · {}", rule.text));
            push_wrapped(&mut text, &format!("    {sign} "), "      ", &line);
        }
    }

    let path_comparison = path_comparison(&judged.scenario, &judged.measurements);
    let lines = path_comparison.lines();
    if !lines.is_empty() {
        let _infallible = write!(text, "\n  {:20}{:>14}{:>14}\n", "", "uncached", "cached");
        for line in lines {
            let row = format!("  {:20}{:>14}{:>14}   {}", line.name, line.uncached, line.cached, line.change);
            push_line(&mut text, row.trim_end());
        }
        let of = |path: &str, phases: &[String]| match phases {
            [] => None,
            phases => Some(format!("{path} in {}", phases.join(", "))),
        };
        let of = [of("uncached", &path_comparison.uncached_phases), of("cached", &path_comparison.cached_phases)];
        let of = one_line(&of.into_iter().flatten().collect::<Vec<_>>().join(" · "), WIDTH - 4);
        push_line(&mut text, &format!("  {}", paint.dim(&format!("({of})"))));
    }

    let stale = judged.stale_lines();
    if !stale.is_empty() {
        text.push('\n');
    }
    for line in &stale {
        push_wrapped(&mut text, "  ", "    ", line);
    }

    let faults = judged.fault_lines();
    if !faults.is_empty() {
        text.push('\n');
    }
    for (line, hints) in faults.iter().take(MAX_FAULTS) {
        push_wrapped(&mut text, &format!("  {} ", paint.bold("▼")), "    ", line);
        for hint in hints.iter().take(MAX_HINTS) {
            push_wrapped(&mut text, "    · ", "      ", hint);
        }
    }
    if faults.len() > MAX_FAULTS {
        push_line(&mut text, &format!("    and {} more faults, see the report", faults.len() - MAX_FAULTS));
    }

    if !verdict.validity.is_empty() {
        text.push('\n');
    }
    for finding in verdict.validity.iter().filter(|finding| finding.blocking) {
        push_wrapped(&mut text, &format!("  {} ", paint.ruling(Ruling::Inconclusive, "!")), "    ", &finding.text);
    }
    for finding in verdict.validity.iter().filter(|finding| !finding.blocking) {
        push_wrapped(&mut text, "  · ", "    ", &finding.text);
    }
    // The path is not wrapped, so that it can be copied.
    let page = directory.join(HTML_FILE);
    let _infallible = write!(text, "\n  Report: {}\n", one_line(&page.to_string_lossy(), 4_096));
    text
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A sentence over as many lines as it needs. Numbers keep together with their units.
fn push_wrapped(text: &mut String, first: &str, next: &str, sentence: &str) {
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(next)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    for line in textwrap::wrap(&with_nonbreaking_spaces(&one_line(sentence, 2_000)), options) {
        push_line(text, &with_plain_spaces(&line));
    }
}

/// With ordinary spaces, which can be searched for and copied.
fn with_plain_spaces(line: &str) -> String {
    line.replace('\u{a0}', " ")
}

/// Colours, or none.
struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn ruling(&self, ruling: Ruling, text: &str) -> String {
        let code = match ruling {
            Ruling::Claimed => "2",
            Ruling::Pass => "1;32",
            Ruling::Inconclusive => "1;33",
            Ruling::Fail => "1;31",
        };
        self.with(code, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurements::Measurements;
    use crate::verdict::judge;
    use cacheproof_simulated::{SimulationPlan, journal, scenario};

    fn shown(plan: &SimulationPlan, colour: bool) -> String {
        let (scenario, measurements) = (scenario(plan), Measurements::of(&journal(plan)));
        let verdict = judge(&scenario, &measurements);
        block(&JudgedRun { scenario, measurements, verdict }, Path::new("reports/20260314T092653Z-story-3.1"), colour)
    }

    #[test]
    fn a_pass_shows_each_criterion_with_its_number() {
        insta::assert_snapshot!(shown(&SimulationPlan::default(), false));
    }

    #[test]
    fn a_run_that_failed_and_is_incomplete_shows_both() {
        let plan =
            SimulationPlan { hit_share: 0.2, stale_every: 300, stop_at: Some(70.2), ..SimulationPlan::default() };
        insta::assert_snapshot!(shown(&plan, false));
    }

    #[test]
    fn control_characters_are_removed_and_lines_have_at_most_100_columns() {
        let text = shown(&SimulationPlan { hostile: true, errors_down: 0.05, ..SimulationPlan::default() }, false);
        assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(WIDTH), "{longest:?}: {text}");
    }

    #[test]
    fn colour_does_not_change_the_text() {
        let mut plain = String::new();
        let coloured = shown(&SimulationPlan::default(), true);
        let mut parts = coloured.split('\u{1b}');
        plain.push_str(parts.next().unwrap_or_default());
        plain.extend(parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)));
        assert_eq!(plain, shown(&SimulationPlan::default(), false));
        assert!(coloured.contains("\u{1b}[1;32m✔ PASS"));
    }
}
