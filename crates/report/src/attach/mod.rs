//! A verdict in a Markdown story: a block between two markers, its pictures beside the story, and ticks on exactly the boxes whose
//! text is a criterion's. `story` makes the new text and does nothing else; `outline` reads Markdown; `in_place` writes the file.

mod block;
mod criteria;
mod footnotes;
mod front_matter;
mod html;
mod in_place;
mod leaf;
mod outline;
mod story;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use super::{JudgedRun, ReportError, files, render};

pub use story::{AttachResult, LeftBox, LeftReason, StoryError, attach_to};
pub use words::Likeness;

const BEGIN: &str = "<!-- cacheproof:begin -->";
const END: &str = "<!-- cacheproof:end -->";

/// The files of a report that are copied beside the story.
const ATTACHED_FILES: [&str; 6] = [
    super::HTML_FILE,
    "summary.png",
    "charts/response-percentiles.svg",
    "charts/response-p95.svg",
    "charts/hit-rate.svg",
    "charts/outcomes.svg",
];

/// Why a run could not be attached to a story.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum AttachError {
    /// It could not be read.
    #[error("can't read {}: {source}", path.display())]
    #[diagnostic(help("name a Markdown file that exists: cacheproof attach STORY.md [DIR]"))]
    Read {
        /// The story.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not UTF-8.
    #[error("{} is not UTF-8 text: byte {at} can't be read", path.display())]
    #[diagnostic(help("save it as UTF-8 first; cacheproof changes no byte that it does not understand"))]
    NotUtf8 {
        /// The story.
        path: PathBuf,
        /// Offset of the first byte that is not.
        at: usize,
    },
    /// Its markers are wrong.
    #[error("{}: {source}", path.display())]
    #[diagnostic(help("{}", source.advice()))]
    Story {
        /// The story.
        path: PathBuf,
        /// What is wrong.
        source: StoryError,
    },
    /// An earlier text of it is beside it.
    #[error("{} is there: another attach is writing {}, or one was interrupted", copy.display(), path.display())]
    #[diagnostic(help(
        "if none is running, it is the story from before: keep the better of the two as {}, remove {}, and attach again",
        path.display(), copy.display()
    ))]
    Interrupted {
        /// The story.
        path: PathBuf,
        /// The earlier text.
        copy: PathBuf,
    },
    /// It was changed while the report was rendered.
    #[error("{} was changed by another program in the meantime", path.display())]
    #[diagnostic(help("it was left as it is: attach again"))]
    Changed {
        /// The story.
        path: PathBuf,
    },
    /// It could not be written, and is as it was.
    #[error("can't write {}: {source}", path.display())]
    #[diagnostic(help(
        "it was left as it is: make the file and its directory writable, or free some space, and attach again"
    ))]
    Write {
        /// The story.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was written in part, and could not be put back.
    #[error("can't write {}: {source}; a part of it was written", path.display())]
    #[diagnostic(help("its earlier text is in {}: copy it back", copy.display()))]
    Half {
        /// The story.
        path: PathBuf,
        /// The earlier text.
        copy: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was written, and the copy of its earlier text could not be removed.
    #[error("{} was written, but the copy of its earlier text can't be removed: {source}", path.display())]
    #[diagnostic(help("remove {} yourself: while it is there, nothing more can be attached", copy.display()))]
    CopyStays {
        /// The story.
        path: PathBuf,
        /// The earlier text.
        copy: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The report could not be rendered, or a file could not be written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Report(#[from] ReportError),
}

/// Writes a judged run into a story: the pictures and the page first, then the story, so that it never links
/// to what is not there.
pub fn attach(story: &Path, judged: &JudgedRun) -> Result<AttachResult, AttachError> {
    let bytes = fs::read(story).map_err(|source| AttachError::Read { path: story.into(), source })?;
    let text = String::from_utf8(bytes)
        .map_err(|error| AttachError::NotUtf8 { path: story.into(), at: error.utf8_error().valid_up_to() })?;
    in_place::check(story)?;
    let folder = folder_of(story);
    let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let rendered = render(&judged.scenario, &judged.measurements, &judged.verdict)?;
    let attached_files: Vec<(String, Vec<u8>)> = ATTACHED_FILES
        .iter()
        .filter_map(|wanted| rendered.iter().find(|(name, _)| name == wanted))
        .map(|(name, bytes)| (file_name_of(name), bytes.clone()))
        .collect();
    let names: Vec<&str> = attached_files.iter().map(|(name, _)| name.as_str()).collect();
    let block = block::block(judged, &name, &names);
    let attached = attach_to(&text, &judged.verdict, &block)
        .map_err(|source| AttachError::Story { path: story.into(), source })?;
    files::write(&folder, &attached_files)?;
    // A figure of an earlier run would be taken for this run's.
    for gone in ATTACHED_FILES.iter().map(|name| file_name_of(name)).filter(|name| !names.contains(&name.as_str())) {
        let _not_there = fs::remove_file(folder.join(gone));
    }
    if attached.text != text {
        in_place::replace(story, &text, &attached.text)?;
    }
    Ok(attached)
}

/// `<story-stem>-cacheproof`, beside the story.
fn folder_of(story: &Path) -> PathBuf {
    let stem = story.file_stem().map_or_else(|| "story".into(), |stem| stem.to_string_lossy().into_owned());
    story.with_file_name(format!("{stem}-cacheproof"))
}

fn file_name_of(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_owned()
}
