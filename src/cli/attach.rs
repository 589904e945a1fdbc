//! `cacheproof attach`: writes a run's result into a Markdown story.

use std::path::PathBuf;

use super::{CommandResult, Exit, Failure, report};
use crate::report::attach::{AttachError, AttachResult, attach};
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
    println!(
        "{} {}: {} now shows run {}.",
        ruling.sign(),
        ruling.as_str(),
        arguments.story.display(),
        one_line(run, 200)
    );
    print!("{}", checkbox_lines(&attached));
    let directory = arguments.story.file_stem().unwrap_or_default().to_string_lossy().into_owned() + "-cacheproof";
    println!("  The pictures and the report are in {}/: commit them with the story.", one_line(&directory, 200));
    Ok(Exit::Pass)
}

/// A line for each criterion: what was done to its checkbox.
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
    if !attached.without_box.is_empty() {
        text += "  A checkbox belongs to a criterion if its text is the criterion's: write `- [ ] ` and that text.\n";
    }
    text
}

fn failure(error: AttachError) -> Failure {
    match error {
        AttachError::Report(error) => report::failure(error),
        error => Failure::usage(error),
    }
}
