//! The report: one file for each format, each a pure function of scenario, measurements and verdict, so that the
//! same journal always gives the same bytes. [`render`] computes what the pages show once and renders it as every
//! format, [`write()`] writes the files, and [`attach`] puts a verdict into a story.
//!
//! # Where to start reading
//!
//! `judged_run` goes from a journal to the files. `view` computes what the pages show; `html`, `markdown`, `json` and `junit`
//! write it, and each file in `charts` draws one chart. `page` in `html/mod.rs` is the order of report.html.

pub mod attach;
mod charts;
mod files;
mod html;
mod json;
mod judged_run;
mod junit;
mod markdown;
mod text;
mod view;

use std::path::PathBuf;

use cacheproof_core::journal::JournalError;
use cacheproof_core::measurements::Measurements;
use cacheproof_core::scenario::Scenario;
use cacheproof_verdict::Verdict;

use view::{ReportInput, View};

pub use files::write;
pub use html::{combined_page, is_combined_page};
pub use judged_run::{JudgedRun, judge_run, render_run};
pub use text::{one_line, with_nonbreaking_spaces};
pub use view::{ComparisonRow, PathComparison, RequestStats, path_comparison};

/// Version of summary.json's schema; see docs/summary-schema.md.
pub const SUMMARY_VERSION: u32 = 2;

/// Name of the page in a run's directory.
pub const HTML_FILE: &str = "report.html";

/// Why there is no report.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ReportError {
    /// A figure could not be drawn.
    #[error("can't draw a chart: {0}")]
    #[diagnostic(help("this is a defect of cacheproof: please report it with the run's events.jsonl"))]
    Draw(String),
    /// A file could not be written.
    #[error("can't write {}: {source}", path.display())]
    #[diagnostic(help("{}", files::advice(source)))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The journal could not be read.
    #[error(transparent)]
    #[diagnostic(help(
        "name the directory of a run, reports/latest for example; there is one after the first `cacheproof run FILE`"
    ))]
    Journal(#[from] JournalError),
    /// The scenario inside the journal is not understood.
    #[error("the scenario inside the journal can't be read: {0}")]
    #[diagnostic(help("render it with the version of cacheproof that ran it"))]
    Scenario(String),
}

/// Renders every file of a report but the journal, by relative path. Pure: the same run gives the same bytes every time.
pub fn render(
    scenario: &Scenario,
    measurements: &Measurements,
    verdict: &Verdict,
) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    render_with(scenario, measurements, verdict, true)
}

/// The same without `summary.png`, which takes longer than all others.
pub fn render_pages(
    scenario: &Scenario,
    measurements: &Measurements,
    verdict: &Verdict,
) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    render_with(scenario, measurements, verdict, false)
}

fn render_with(
    scenario: &Scenario,
    measurements: &Measurements,
    verdict: &Verdict,
    with_picture: bool,
) -> Result<Vec<(String, Vec<u8>)>, ReportError> {
    let input = ReportInput { scenario, measurements, verdict };
    let view = View::of(input);
    let plots = charts::all(scenario, measurements, &verdict.faults);
    let svgs: Vec<charts::Svg> = plots.iter().map(charts::svg).collect::<Result<_, _>>()?;
    let mut files = vec![
        (HTML_FILE.to_owned(), html::page(&view, &svgs).into_bytes()),
        ("report.md".to_owned(), markdown::page(&view, markdown::MAX_BYTES).into_bytes()),
        ("summary.json".to_owned(), json::summary(input, &view)),
        ("junit.xml".to_owned(), junit::report(input, &view)?),
    ];
    if with_picture {
        files.push(("summary.png".to_owned(), charts::page(&view, &plots)?));
    }
    for (plot, svg) in plots.iter().zip(svgs) {
        files.push((format!("charts/{}.svg", plot.file), svg.alone.into_bytes()));
    }
    if let Some(start) = &measurements.start {
        files.push(("scenario.toml".to_owned(), start.scenario.clone().into_bytes()));
    }
    Ok(files)
}
