//! `cacheproof attach`: a run's result written into a Markdown story.

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
    /// The run's directory; without one the latest run, which must be complete
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
}

/// Attaches, and says which boxes it ticked.
pub fn run(arguments: &AttachArgs) -> CommandResult {
    let latest = PathBuf::from("reports/latest");
    let judged = judge_run(arguments.run.as_ref().unwrap_or(&latest)).map_err(report::failure)?;
    if arguments.run.is_none() && !judged.measurements.complete() {
        return Err(Failure::usage(miette::miette!(
            help = "name a complete run: cacheproof attach STORY.md reports/…; or name reports/latest to attach it all the same",
            "the latest run broke off: it would untick what it did not get to"
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
    print!("{}", boxes(&attached));
    let beside = arguments.story.file_stem().unwrap_or_default().to_string_lossy().into_owned() + "-cacheproof";
    println!("  Pictures and report lie beside it in {}/: commit them with the story.", one_line(&beside, 200));
    Ok(Exit::Pass)
}

/// What became of each criterion's box, a line each.
fn boxes(attached: &AttachResult) -> String {
    let lists = [
        ("ticked", &attached.ticked),
        ("unticked", &attached.unticked),
        ("as it was", &attached.unchanged),
        ("no box", &attached.without_box),
    ];
    let mut text = String::new();
    for (word, list) in lists {
        for says in list {
            text += &format!("  {word:10} {}\n", one_line(says, 86));
        }
    }
    if !attached.without_box.is_empty() {
        text += "  A criterion finds its box by its words: write `- [ ] ` and the criterion's text into the story.\n";
    }
    text
}

fn failure(error: AttachError) -> Failure {
    match error {
        AttachError::Report(error) => report::failure(error),
        error => Failure::usage(error),
    }
}
