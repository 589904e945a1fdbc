//! The text of a paragraph, of a list item or of a heading.

use super::outline::{Sight, TaskBox};

/// Text that belongs together, while it is read.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// The box before it: where its mark is, and whether it is ticked.
    pub found: Option<(usize, bool)>,
    pub is_heading: bool,
    /// How many of these are open around what comes next.
    pub struck: usize,
    pub images: usize,
    /// Where each of its lines begins, in the story and in the text.
    lines: Vec<(usize, usize)>,
    text: String,
    not_struck: String,
    any_struck: bool,
}

impl Leaf {
    pub(super) fn at(at: usize, struck: usize) -> Self {
        Self { lines: vec![(at, 0)], struck, ..Self::default() }
    }

    /// Adds text. What stands for an image is not shown beside it.
    pub(super) fn push(&mut self, text: &str) {
        if self.images > 0 {
            return;
        }
        self.text.push_str(text);
        if self.struck == 0 {
            self.not_struck.push_str(text);
        } else {
            self.any_struck |= !text.trim().is_empty();
        }
    }

    /// A line of the source ends; a reader sees a space. The next line begins at `next` of the story.
    pub(super) fn break_line(&mut self, next: usize) {
        self.push(" ");
        self.lines.push((next, self.text.len()));
    }

    pub(super) fn strike_ends(&mut self) {
        // HTML may end what Markdown began.
        self.struck = self.struck.saturating_sub(1);
    }

    pub(super) fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Whether it is a box without text.
    pub(super) fn awaits_text(&self) -> bool {
        self.found.is_some() && self.is_blank()
    }

    /// Its box, or its lines that look like one.
    pub(super) fn boxes(self) -> Vec<TaskBox> {
        match self.found {
            Some((at, ticked)) => vec![TaskBox {
                at,
                ticked,
                not_struck: self.any_struck.then_some(self.not_struck),
                text: self.text,
                goes_on: false,
                // GitHub makes no box where a heading follows it.
                sight: if self.is_heading { Sight::Characters } else { Sight::Box },
            }],
            None => self.look_alikes(),
        }
    }

    fn look_alikes(&self) -> Vec<TaskBox> {
        let mut found: Vec<TaskBox> = Vec::new();
        let ends = self.lines.iter().skip(1).map(|(_, end)| *end).chain([self.text.len()]);
        for ((at, from), to) in self.lines.iter().zip(ends) {
            let line = &self.text[*from..to];
            if let Some((ticked, text)) = like_a_box(line) {
                let (text, not_struck, goes_on, sight) = (text.to_owned(), None, false, Sight::Characters);
                found.push(TaskBox { at: *at, ticked, text, not_struck, goes_on, sight });
            } else if let Some(last) = found.last_mut() {
                last.text.push_str(line);
            }
        }
        found
    }
}

/// The text behind characters that look like a box, and whether that is ticked: `[x] text`, `-[ ] text`, `☐ text`.
fn like_a_box(line: &str) -> Option<(bool, &str)> {
    let line = line.trim_start();
    let number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let line = match number.strip_prefix(['.', ')']) {
        Some(rest) if number.len() < line.len() => rest,
        _ => line,
    };
    let mut letters =
        line.trim_start_matches(|letter: char| "-*+•–".contains(letter) || letter.is_whitespace()).chars();
    let mark = match letters.next()? {
        '☐' => return Some((false, letters.as_str())),
        '☑' | '☒' | '✅' | '✔' | '✓' => return Some((true, letters.as_str())),
        '[' => letters.next()?,
        _ => return None,
    };
    if mark == ']' {
        return Some((false, letters.as_str()));
    }
    (letters.next()? == ']').then(|| (!mark.is_whitespace(), letters.as_str()))
}
