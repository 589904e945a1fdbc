//! Puts a verdict into the text of a story. Pure: text in, text out; every byte outside the block and the
//! boxes stays.

use std::collections::BTreeMap;
use std::ops::Range;

use cacheproof_verdict::{Ruling, Verdict};

use super::criteria::{BoxOf, Criteria};
use super::outline::{Opaque, Outline, Sight};
use super::words::Likeness;
use super::{BEGIN, END};

const LINE_ENDS: [char; 2] = ['\r', '\n'];

/// The changes to a story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachResult {
    /// Its new text.
    pub text: String,
    /// Criteria whose boxes were ticked now.
    pub ticked: Vec<String>,
    /// Criteria whose boxes were unticked now.
    pub unticked: Vec<String>,
    /// Criteria whose boxes were right already.
    pub unchanged: Vec<String>,
    /// Criteria that have no box.
    pub without_box: Vec<String>,
    /// What is nearly a criterion's box, and was left as it is.
    pub left: Vec<LeftBox>,
    /// Lines, counted from 1, of ticked boxes with more text below: only the text beside the box is the criterion's.
    pub goes_on: Vec<usize>,
}

/// A box that was left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBox {
    /// Its line in the new text, counted from 1.
    pub line: usize,
    /// Whether it is ticked.
    pub ticked: bool,
    /// Its text, on one line.
    pub text: String,
    /// The criterion that it is like.
    pub criterion: String,
    /// Why it is not the criterion's.
    pub reason: LeftReason,
}

/// Why a box was left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// Its text is nearly the criterion's.
    Text(Likeness),
    /// Its text is struck out, or a part of it.
    StruckOut,
    /// It is no box of a task list, whatever it looks like.
    NoBox,
    /// The page does not show it.
    Hidden,
}

/// Why a story can't take a block. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoryError {
    /// A block begins and does not end.
    #[error("the block that begins in line {0} has no end")]
    NoEnd(usize),
    /// There are two blocks.
    #[error("there is a second block in line {0}")]
    SecondBlock(usize),
    /// The story ends inside a code fence.
    #[error("the code fence opened in line {0} is never closed")]
    OpenFence(usize),
    /// The story ends inside a comment.
    #[error("the comment opened in line {0} is never closed")]
    OpenComment(usize),
    /// The story ends inside a block of HTML.
    #[error("the HTML that begins in line {0} is never closed")]
    OpenHtml(usize),
}

impl StoryError {
    /// What to do about it.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::NoEnd(_) => format!("add a line `{END}` where the block ends, or remove `{BEGIN}`"),
            Self::SecondBlock(_) => {
                format!("a story has one block: remove the lines from `{BEGIN}` to `{END}` of the other")
            }
            Self::OpenFence(_) => "close it: a block after it would be shown as code".to_owned(),
            Self::OpenComment(_) => "close it with `-->`: a block after it would not be shown".to_owned(),
            Self::OpenHtml(_) => {
                "close it, with `</pre>` for example: a block after it would not be read as Markdown".to_owned()
            }
        }
    }
}

/// Puts a block into a story, in place of an earlier one or at its end, and sets its boxes by the verdict: ticked
/// where the criterion passed in a run without a blocking finding (a run that broke off has one), not ticked otherwise, even where
/// a test alone proves it: no run has shown that the deployment is right. Nor is one ticked that a test without a result claims. A box
/// belongs to a criterion if a reader sees the same text beside it; spaces and a full stop at the end do not count.
pub fn attach_to(story: &str, verdict: &Verdict, block: &str) -> Result<AttachResult, StoryError> {
    let place = Place::of(story)?;
    let line_end = ["\r\n", "\n", "\r"].into_iter().find(|end| story.contains(end)).unwrap_or("\n");
    let body = format!("{BEGIN}\n\n{}\n\n{END}", block.trim_end()).replace('\n', line_end);
    let (before, after) = place.around(story, line_end);
    let text = format!("{}{before}{body}{after}{}", &story[..place.old.start], &story[place.old.end..]);
    let block_at = place.old.start + before.len();
    let block = block_at..block_at + body.len();

    // The old block may have hidden what follows it; so the new text is what counts.
    let outline = Outline::of(&text);
    check_block(&outline, &text, &block, story, &place)?;

    let mut attached = AttachResult::default();
    let sound = !verdict.validity.iter().any(|finding| finding.blocking);
    let criteria = Criteria::of(
        verdict.criteria.iter().map(|criterion| (criterion.says.as_str(), sound && criterion.ruling == Ruling::Pass)),
    );
    let mut lines = Lines::of(&text);
    let mut edits: Vec<(usize, &str)> = Vec::new();
    // For each criterion with a box: whether boxes were ticked, and unticked.
    let mut found: BTreeMap<usize, (bool, bool)> = BTreeMap::new();
    for task in outline.boxes.iter().filter(|task| !block.contains(&task.at)) {
        match criteria.belongs_to(task) {
            BoxOf::Criteria { indexes, proved } => {
                let changes = task.ticked != proved;
                if changes {
                    edits.push((task.at, if proved { "x" } else { " " }));
                }
                for index in indexes {
                    let (ticked, unticked) = found.entry(*index).or_default();
                    *ticked |= changes && proved;
                    *unticked |= changes && !proved;
                }
                if proved && task.goes_on {
                    attached.goes_on.push(lines.number(task.at));
                }
            }
            BoxOf::Near { index, likeness } => {
                let reason = match (task.sight, likeness) {
                    (Sight::Characters, _) => LeftReason::NoBox,
                    (Sight::Hidden, _) => LeftReason::Hidden,
                    (Sight::Box, Some(likeness)) if task.not_struck.is_none() => LeftReason::Text(likeness),
                    (Sight::Box, _) => LeftReason::StruckOut,
                };
                attached.left.push(LeftBox {
                    line: lines.number(task.at),
                    ticked: task.ticked,
                    text: super::words::seen(&task.text),
                    criterion: verdict.criteria[index].says.clone(),
                    reason,
                });
            }
            BoxOf::Other => {}
        }
    }
    for (index, criterion) in verdict.criteria.iter().enumerate() {
        let list = match found.get(&index) {
            None => &mut attached.without_box,
            Some((true, _)) => &mut attached.ticked,
            Some((_, true)) => &mut attached.unticked,
            Some(_) => &mut attached.unchanged,
        };
        if !list.contains(&criterion.says) {
            list.push(criterion.says.clone());
        }
    }

    edits.sort_unstable();
    let mut at = 0;
    for (mark_at, mark) in edits {
        attached.text.push_str(&text[at..mark_at]);
        attached.text.push_str(mark);
        at = mark_at + 1;
    }
    attached.text.push_str(&text[at..]);
    Ok(attached)
}

/// Where a block goes.
struct Place {
    /// The earlier block, from the begin marker's first byte to behind the end marker's last; or the end of the story.
    old: Range<usize>,
    is_new: bool,
}

impl Place {
    fn of(story: &str) -> Result<Self, StoryError> {
        let outline = Outline::of(story);
        let Some(begin) = outline.blocks.first().copied() else {
            return Ok(Self { old: story.len()..story.len(), is_new: true });
        };
        // What is between the markers is replaced: an end that is another block's, or shown as code, would take the user's text with it.
        let mut at = begin;
        let code = outline.opaque.iter().filter(|(_, opaque)| *opaque == Opaque::Code).map(|(range, _)| range);
        // A fence that is never closed may be the old block's; then it is replaced too.
        let mut code = code.filter(|range| !is_open_fence(story, range)).peekable();
        for line in story[begin..].split_inclusive(LINE_ENDS) {
            while code.next_if(|range| range.end <= at).is_some() {}
            // The range of indented code begins behind the indent.
            let is_code = code.peek().is_some_and(|range| range.start < at + line.len());
            match line.trim() {
                END if !is_code => {
                    let end = at + line.find(END).unwrap_or(0) + END.len();
                    return Ok(Self { old: begin..end, is_new: false });
                }
                BEGIN if !is_code && at > begin => break,
                _ => at += line.len(),
            }
        }
        Err(StoryError::NoEnd(line_number(story, begin)))
    }

    /// What is put before a new block and after it: one blank line before it. A story without a last line end keeps none.
    fn around(&self, story: &str, line_end: &'static str) -> (String, &'static str) {
        match story {
            _ if !self.is_new => (String::new(), ""),
            "" => (String::new(), line_end),
            story if story.ends_with(LINE_ENDS) => {
                let rest = story.trim_end_matches(LINE_ENDS);
                let blank = story[rest.len()..].replace("\r\n", "\n").len() > 1 || rest.is_empty();
                // Not `\n`: behind a `\r` it would be a part of that line end.
                let one = if story.ends_with('\r') { "\r" } else { line_end };
                (if blank { String::new() } else { one.to_owned() }, line_end)
            }
            _ => (line_end.repeat(2), ""),
        }
    }
}

/// Checks that the new text has one block, and that a reader sees it.
fn check_block(
    outline: &Outline,
    text: &str,
    block: &Range<usize>,
    story: &str,
    place: &Place,
) -> Result<(), StoryError> {
    if let Some(other) = outline.blocks.iter().find(|at| !block.contains(at)) {
        let in_story = if *other < block.start { *other } else { *other - block.end + place.old.end };
        return Err(StoryError::SecondBlock(line_number(story, in_story)));
    }
    if outline.blocks.contains(&block.start) {
        return Ok(());
    }
    let around = outline.opaque.iter().find(|(range, _)| range.contains(&block.start));
    let (at, opaque) = around.map_or((block.start, Opaque::Html), |(range, opaque)| (range.start, *opaque));
    let line = line_number(text, at);
    Err(match opaque {
        Opaque::Code => StoryError::OpenFence(line),
        Opaque::Comment => StoryError::OpenComment(line),
        Opaque::Html => StoryError::OpenHtml(line),
    })
}

/// Whether code goes on to the end of a story because no fence closes it.
fn is_open_fence(story: &str, code: &Range<usize>) -> bool {
    let text = story[code.clone()].trim();
    let is_fence = |mark: char| {
        text.starts_with(&String::from(mark).repeat(3))
            && text.rsplit(LINE_ENDS).next().is_some_and(|last| last == text || !last.trim().chars().all(|c| c == mark))
    };
    story[code.end..].trim().is_empty() && (is_fence('`') || is_fence('~'))
}

fn line_number(text: &str, at: usize) -> usize {
    Lines::of(text).number(at)
}

/// Numbers of lines, asked for in rising order.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, number: 1 }
    }

    fn number(&mut self, at: usize) -> usize {
        if at < self.at {
            *self = Self { text: self.text, at: 0, number: 1 };
        }
        let ends = (self.at..at).filter(|at| match self.text[*at] {
            b'\n' => true,
            b'\r' => self.text.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        self.number += ends.count();
        self.at = at;
        self.number
    }
}
