//! Puts a verdict into the text of a story. Pure: text in, text out; every byte outside the block and the
//! boxes stays.

use std::collections::BTreeMap;
use std::ops::Range;

use cacheproof_verdict::{Ruling, Verdict};

use super::checkboxes::{Checkbox, item_text, normalized, parse_checkbox};

const BEGIN: &str = "<!-- cacheproof:begin -->";
const END: &str = "<!-- cacheproof:end -->";

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
        }
    }
}

/// Puts a block into a story, in place of an earlier one or at its end, and sets its boxes by the verdict: ticked
/// where the criterion passed in a run without a blocking finding (a run that broke off has one), not ticked otherwise, even where
/// a test alone proves it: no run has shown that the deployment is right. A box belongs to a criterion if their texts differ only
/// in emphasis, spaces and a full stop.
pub fn attach_to(story: &str, verdict: &Verdict, block: &str) -> Result<AttachResult, StoryError> {
    let outline = Outline::of(story)?;
    let mut attached = AttachResult::default();
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();

    let sound = !verdict.validity.iter().any(|finding| finding.blocking);
    // Of criteria with the same words all must pass.
    let mut wanted: BTreeMap<String, bool> = BTreeMap::new();
    for criterion in &verdict.criteria {
        let proved = sound && criterion.ruling == Ruling::Pass;
        wanted.entry(normalized(&criterion.says)).and_modify(|all| *all &= proved).or_insert(proved);
    }
    let mut found: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for task in &outline.checkboxes {
        let Some((says, proved)) = task.texts.iter().find_map(|text| wanted.get_key_value(text)) else { continue };
        let (ticked, unticked) = found.entry(says).or_default();
        if task.ticked != *proved {
            let (mark, changed) = if *proved { ("x", ticked) } else { (" ", unticked) };
            edits.push((task.mark_at..task.mark_at + 1, mark.to_owned()));
            *changed = true;
        }
    }
    for criterion in &verdict.criteria {
        let list = match found.get(normalized(&criterion.says).as_str()) {
            None => &mut attached.without_box,
            Some((true, _)) => &mut attached.ticked,
            Some((_, true)) => &mut attached.unticked,
            Some(_) => &mut attached.unchanged,
        };
        if !list.contains(&criterion.says) {
            list.push(criterion.says.clone());
        }
    }

    let line_end = if story.contains("\r\n") { "\r\n" } else { "\n" };
    let body = format!("{BEGIN}\n\n{}\n\n{END}", block.trim_end()).replace('\n', line_end);
    match outline.block {
        Some(range) => edits.push((range, body)),
        None => {
            // One blank line before the block. A story without a last line end keeps none.
            let (before, after) = match story {
                "" => (String::new(), line_end),
                story if story.ends_with('\n') => {
                    let rest = story.trim_end_matches(['\r', '\n']);
                    let blank = story[rest.len()..].matches('\n').count() > 1 || rest.is_empty();
                    (if blank { String::new() } else { line_end.to_owned() }, line_end)
                }
                _ => (line_end.repeat(2), ""),
            };
            edits.push((story.len()..story.len(), format!("{before}{body}{after}")));
        }
    }

    edits.sort_by_key(|(range, _)| range.start);
    let mut at = 0;
    for (range, text) in edits {
        attached.text.push_str(&story[at..range.start]);
        attached.text.push_str(&text);
        at = range.end;
    }
    attached.text.push_str(&story[at..]);
    Ok(attached)
}

/// Where a story's boxes and its block are.
struct Outline {
    checkboxes: Vec<Task>,
    /// From the begin marker's first byte to behind the end marker's last.
    block: Option<Range<usize>>,
}

struct Task {
    mark_at: usize,
    ticked: bool,
    /// Its possible texts: its line alone, and with the lines that continue it.
    texts: Vec<String>,
}

/// What a line is part of.
enum ParseState {
    Story,
    Fence { letter: u8, length: usize, line: usize },
    Comment { line: usize },
    Block { from: usize, line: usize },
}

impl Outline {
    fn of(story: &str) -> Result<Self, StoryError> {
        let mut outline = Self { checkboxes: Vec::new(), block: None };
        let mut state = ParseState::Story;
        // Whether the next line can continue the last box's text.
        let mut open_item = false;
        let mut at = 0;
        for (index, whole) in story.split_inclusive('\n').enumerate() {
            let (line, number) = (whole.trim_end_matches(['\r', '\n']), index + 1);
            state = match state {
                ParseState::Fence { letter, length, .. } if closes_fence(line, letter, length) => ParseState::Story,
                ParseState::Comment { .. } if line.contains("-->") => ParseState::Story,
                ParseState::Block { from, .. } if line.trim() == END => {
                    let end = at + line.find(END).unwrap_or(0) + END.len();
                    outline.block = Some(from..end);
                    ParseState::Story
                }
                ParseState::Story if line.trim() == BEGIN => {
                    if outline.block.is_some() {
                        return Err(StoryError::SecondBlock(number));
                    }
                    open_item = false;
                    ParseState::Block { from: at + line.find(BEGIN).unwrap_or(0), line: number }
                }
                ParseState::Story => match opening_fence(line) {
                    Some((letter, length)) => {
                        open_item = false;
                        ParseState::Fence { letter, length, line: number }
                    }
                    None => {
                        outline.line(line, at, &mut open_item);
                        if leaves_comment_open(line) { ParseState::Comment { line: number } } else { ParseState::Story }
                    }
                },
                other => other,
            };
            at += whole.len();
        }
        match state {
            ParseState::Story => Ok(outline),
            ParseState::Fence { line, .. } => Err(StoryError::OpenFence(line)),
            ParseState::Comment { line } => Err(StoryError::OpenComment(line)),
            ParseState::Block { line, .. } => Err(StoryError::NoEnd(line)),
        }
    }

    fn line(&mut self, line: &str, at: usize, open_item: &mut bool) {
        if let Some(Checkbox { mark_at, ticked, text }) = parse_checkbox(line) {
            self.checkboxes.push(Task { mark_at: at + mark_at, ticked, texts: vec![normalized(text)] });
            *open_item = true;
            return;
        }
        let continues = *open_item
            && !line.trim().is_empty()
            && line.starts_with([' ', '\t'])
            && item_text(line).is_none()
            && !line.trim_start().starts_with(['#', '>', '|', '<']);
        if let Some(task) = self.checkboxes.last_mut().filter(|_| continues)
            && let Some(said) = task.texts.last()
        {
            let longer = normalized(&format!("{said} {line}"));
            task.texts.push(longer);
        }
        *open_item = continues;
    }
}

/// The letter and the length of a code fence that a line opens.
fn opening_fence(line: &str) -> Option<(u8, usize)> {
    let mut text = line.trim_start_matches([' ', '\t']);
    // A fence may be the first thing in a list item.
    while let Some(item) = item_text(text) {
        text = item;
    }
    let letter = *text.as_bytes().first().filter(|letter| b"`~".contains(letter))?;
    let length = text.bytes().take_while(|byte| *byte == letter).count();
    // Backticks again on the same line make it inline code.
    let inline = letter == b'`' && text[length..].contains('`');
    (length >= 3 && !inline).then_some((letter, length))
}

fn closes_fence(line: &str, letter: u8, length: usize) -> bool {
    let text = line.trim();
    text.len() >= length && text.bytes().all(|byte| byte == letter)
}

fn leaves_comment_open(line: &str) -> bool {
    // In inline code a comment is none; a line that opens one and holds backticks before it is left alone.
    line.rfind("<!--").is_some_and(|open| !line[open..].contains("-->") && !line[..open].contains('`'))
}
