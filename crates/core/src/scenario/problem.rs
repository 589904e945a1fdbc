//! What is wrong with a scenario: every problem at once, each with its place and what to write instead.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use super::secrets::FileSecrets;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    message: String,
    span: Option<Range<usize>>,
    label: Option<String>,
    help: Option<String>,
}

impl Problem {
    /// A problem with the file as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: None, help: None }
    }

    /// Points at a part of the file, in bytes.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// Words beside the mark; without them it says "here".
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Where it is, in bytes of the file.
    pub fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        let label = self.label.clone().unwrap_or_else(|| "here".to_owned());
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(label), span))))
    }
}

/// Everything that is wrong with a scenario, in the order of the file.
#[derive(Debug)]
pub struct ScenarioErrors {
    source: NamedSource<String>,
    problems: Vec<Problem>,
    /// The first of them, and how many are not among these.
    shown: Vec<ShownProblem>,
}

/// A longer line is cut around the place: nobody reads it, and a column far to the right cannot be rendered.
const MAX_LINE: usize = 400;

/// How much of a long line is shown before a place and from its begin on.
const AROUND: usize = 120;

/// A problem as it is shown.
#[derive(Debug)]
struct ShownProblem {
    problem: Problem,
    /// The part of its line around it, where the line is long.
    source: Option<NamedSource<String>>,
}

impl ShownProblem {
    fn of(name: &str, text: &str, problem: &Problem) -> Self {
        Self::in_long_line(name, text, problem).unwrap_or_else(|| Self { problem: problem.clone(), source: None })
    }

    /// `None`: its line is short.
    fn in_long_line(name: &str, text: &str, problem: &Problem) -> Option<Self> {
        let span = problem.span.clone()?;
        let (before, rest) = (text.get(..span.start)?, text.get(span.start..)?);
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let end = rest.find('\n').map_or(text.len(), |length| span.start + length);
        if end - begin <= MAX_LINE {
            return None;
        }
        let from = text.floor_char_boundary(span.start.saturating_sub(AROUND).max(begin));
        let to = text.floor_char_boundary((span.start + AROUND).min(end));
        // Empty lines before it keep its number.
        let lines = before.matches('\n').count();
        let (left, right) = (if from > begin { "…" } else { "" }, if to < end { "…" } else { "" });
        let cut = format!("{}{left}{}{right}\n", "\n".repeat(lines), &text[from..to]);
        let at = lines + left.len() + (span.start - from);
        let length = span.end.min(to).saturating_sub(span.start);
        let problem = Problem { span: Some(at..at + length), ..problem.clone() };
        Some(Self { problem, source: Some(NamedSource::new(name, cut)) })
    }
}

impl fmt::Display for ShownProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for ShownProblem {}

impl Diagnostic for ShownProblem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Diagnostic::help(&self.problem)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.problem.labels()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }
}

/// How many problems are shown: a file with more has a few mistakes that repeat, or is something else.
const MAX_SHOWN: usize = 20;

impl ScenarioErrors {
    /// The problems of the text that goes by this name.
    pub fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        // The lines around a problem are shown, on terminals and in CI logs; secrets in them are not.
        let secrets = FileSecrets::of(text);
        let mask = secrets.mask();
        for problem in &mut problems {
            problem.message = mask.text(&problem.message);
            problem.label = problem.label.as_deref().map(|label| mask.text(label));
            problem.help = problem.help.as_deref().map(|help| mask.text(help));
        }
        let text = secrets.struck_out_in_place(text, &mask);
        let mut shown: Vec<_> =
            problems.iter().take(MAX_SHOWN).map(|problem| ShownProblem::of(name, &text, problem)).collect();
        if let Some(rest) = problems.len().checked_sub(MAX_SHOWN).filter(|rest| *rest > 0) {
            shown.push(ShownProblem { problem: Problem::new(format!("and {rest} more")), source: None });
        }
        Self { source: NamedSource::new(name, text), problems, shown }
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.source.name();
        match self.problems.len() {
            1 => write!(f, "{name} cannot be used: 1 error"),
            count => write!(f, "{name} cannot be used: {count} errors"),
        }
    }
}

impl std::error::Error for ScenarioErrors {}

impl Diagnostic for ScenarioErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.shown.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// Collects problems while the file is read on.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    pub(super) fn into_inner(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// The known name nearest to what was written, if it is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (written.chars().count().max(name.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A help line for an unknown name: the nearest one, then all of them.
pub(super) fn known_names<'a>(
    written: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> String {
    let known = known.into_iter();
    let list = known.clone().collect::<Vec<_>>().join(", ");
    match nearest(written, known) {
        Some(name) => format!("did you mean {}? {what}: {list}", super::display::name(name)),
        None if list.is_empty() => format!("{what}: none"),
        None => format!("{what}: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_around_its_problem_and_keeps_its_number() {
        let text = format!("a = 1\nb = \"{}{{nope}}{}\"\n", "x".repeat(70_000), "y".repeat(70_000));
        let at = text.find("{nope}").unwrap();
        let errors = ScenarioErrors::new("s.toml", &text, vec![Problem::new("no such key").at(at..at + 6)]);
        let mut shown = String::new();
        miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
            .render_report(&mut shown, &errors)
            .unwrap();
        assert!(shown.contains("s.toml:2:") && shown.contains("xxx{nope}yyy"), "{shown}");
        assert!(shown.len() < 2_000, "{}", shown.len());
    }
}
