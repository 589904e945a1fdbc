//! `cacheproof attach`: writes a run's result into a Markdown story.

use std::path::PathBuf;

use super::{CommandResult, Exit, Failure, report, terminal};
use crate::report::attach::{AttachError, AttachResult, LeftBox, LeftReason, Likeness, attach};
use crate::report::{judge_run, one_line};

/// Arguments of `attach`.
#[derive(Debug, clap::Args)]
pub struct AttachArgs {
    /// The story: a Markdown file
    #[arg(value_name = "STORY.md")]
    story: PathBuf,
    /// The run's directory; by default that of the latest run, if that run is complete
    #[arg(value_name = "DIR")]
    run: Option<PathBuf>,
}

/// Attaches the run and prints which checkboxes it ticked.
pub fn run(arguments: &AttachArgs) -> CommandResult {
    let latest = PathBuf::from("reports/latest");
    let judged = judge_run(arguments.run.as_ref().unwrap_or(&latest)).map_err(report::failure)?;
    if arguments.run.is_none() && !judged.measurements.complete() {
        return Err(Failure::usage(miette::miette!(
            help =
                "name a complete run: cacheproof attach STORY.md reports/…; or name reports/latest to attach this one",
            "the latest run is incomplete: attaching it would untick the criteria that it did not reach"
        )));
    }
    let attached = attach(&arguments.story, &judged).map_err(failure)?;
    let ruling = judged.verdict.ruling;
    let run = judged.measurements.start.as_ref().map_or("", |start| start.run_id.as_str());
    terminal::print(&format!(
        "{} {}: {} now shows run {}.\n",
        ruling.sign(),
        ruling.as_str(),
        arguments.story.display(),
        one_line(run, 200)
    ));
    terminal::print(&checkbox_lines(&attached));
    let directory = arguments.story.file_stem().unwrap_or_default().to_string_lossy().into_owned() + "-cacheproof";
    terminal::print(&format!(
        "  The pictures and the report are in {}/: commit them with the story.\n",
        one_line(&directory, 200)
    ));
    Ok(Exit::Pass)
}

/// More boxes than these are counted, not listed.
const MAX_LEFT: usize = 20;

/// A line for each criterion: what was done to its checkbox; and what was left as it is, with the reason.
fn checkbox_lines(attached: &AttachResult) -> String {
    let lists = [
        ("ticked", &attached.ticked),
        ("unticked", &attached.unticked),
        ("unchanged", &attached.unchanged),
        ("no box", &attached.without_box),
    ];
    let mut text = String::new();
    for (word, list) in lists {
        for says in list {
            text += &format!("  {word:10} {}\n", one_line(says, 86));
        }
    }
    for left in attached.left.iter().take(MAX_LEFT) {
        text += &left_lines(left);
    }
    if attached.left.len() > MAX_LEFT {
        text += &format!("  {:10} and {} more\n", "left", attached.left.len() - MAX_LEFT);
    }
    for line in attached.goes_on.iter().take(MAX_LEFT) {
        text += &format!(
            "  {:10} line {line}: the item goes on below; only the text beside its box was compared\n",
            "note"
        );
    }
    if attached.goes_on.len() > MAX_LEFT {
        text += &format!("  {:10} and {} more\n", "note", attached.goes_on.len() - MAX_LEFT);
    }
    if !attached.without_box.is_empty() || !attached.left.is_empty() {
        text += "  A checkbox belongs to a criterion if its text is the criterion's: write `- [ ] ` and that text.\n";
    }
    text
}

/// What a box that was left as it is says, and why it is not the criterion's.
fn left_lines(left: &LeftBox) -> String {
    let mark = if left.ticked { "x" } else { " " };
    let why = match left.reason {
        LeftReason::Text(Likeness::Punctuation) => "its punctuation or its capitals differ from the criterion's",
        LeftReason::Text(Likeness::SaysMore) => "it says more than the criterion",
        LeftReason::Text(Likeness::SaysLess) => "it says less than the criterion",
        LeftReason::Text(Likeness::OtherWords) => "it is not the same text as the criterion's",
        LeftReason::StruckOut => "its text is struck out, or a part of it; the criterion",
        LeftReason::NoBox => "Markdown does not make a checkbox of it; the criterion",
        LeftReason::Hidden => "the page does not show it; the criterion",
    };
    let (says, criterion) = (one_line(&left.text, 86), one_line(&left.criterion, 86));
    format!("  {:10} line {} [{mark}]: {says}\n{:13}{why}: {criterion}\n", "left", left.line, "")
}

fn failure(error: AttachError) -> Failure {
    match error {
        AttachError::Report(error) => report::failure(error),
        error => Failure::usage(error),
    }
}
