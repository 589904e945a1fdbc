//! Which criterion a box belongs to.

use std::collections::{BTreeMap, HashMap};

use super::outline::{Outline, Sight, TaskBox};
use super::words::{Likeness, Words, seen};

/// The criteria of a verdict, by their texts.
pub(super) struct Criteria {
    /// Of criteria with the same text all must be proved.
    by_text: HashMap<String, (Vec<usize>, bool)>,
    /// Each text with its words and the first of its criteria.
    near: Vec<(Words, usize)>,
}

/// What a box is to the criteria.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BoxOf<'a> {
    /// It is the box of these.
    Criteria { indexes: &'a [usize], proved: bool },
    /// It is nearly the box of this one; `None`: its text is the same, and something else is wrong with it.
    Near { index: usize, likeness: Option<Likeness> },
    /// It has nothing to do with them.
    Other,
}

impl Criteria {
    /// Takes each criterion's text and whether it is proved.
    pub(super) fn of<'a>(criteria: impl Iterator<Item = (&'a str, bool)>) -> Self {
        let mut by_text: BTreeMap<String, (Vec<usize>, bool)> = BTreeMap::new();
        for (index, (says, proved)) in criteria.enumerate() {
            let mut texts = vec![seen(says)];
            texts.extend(as_markdown(says).filter(|text| *text != texts[0]));
            for text in texts.into_iter().filter(|text| !text.is_empty()) {
                let (indexes, all) = by_text.entry(text).or_insert_with(|| (Vec::new(), true));
                indexes.push(index);
                *all &= proved;
            }
        }
        let near = by_text.iter().map(|(text, (indexes, _))| (Words::of(text), indexes[0])).collect();
        Self { by_text: by_text.into_iter().collect(), near }
    }

    pub(super) fn belongs_to(&self, task: &TaskBox) -> BoxOf<'_> {
        let text = seen(&task.text);
        let not_struck = task.not_struck.as_deref().map(seen);
        let same = self.by_text.get(&text).or_else(|| self.by_text.get(not_struck.as_ref()?));
        if let Some((indexes, proved)) = same {
            return match (task.sight, not_struck) {
                (Sight::Box, None) => BoxOf::Criteria { indexes, proved: *proved },
                _ => BoxOf::Near { index: indexes[0], likeness: None },
            };
        }
        let words = Words::of(&text);
        let nearest =
            self.near.iter().filter_map(|(criterion, index)| Some((words.likeness(criterion)?, *index))).min();
        nearest.map_or(BoxOf::Other, |(likeness, index)| BoxOf::Near { index, likeness: Some(likeness) })
    }
}

/// What a reader sees of a criterion's text where it is written behind a box as it is.
fn as_markdown(says: &str) -> Option<String> {
    let line: Vec<&str> = says.split_whitespace().collect();
    match Outline::of(&format!("- [ ] {}\n", line.join(" "))).boxes.as_slice() {
        [task] if task.not_struck.is_none() && task.sight == Sight::Box => Some(seen(&task.text)),
        _ => None,
    }
}
