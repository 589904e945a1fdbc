//! Footnotes: they are shown at the end of the page, and only those that a shown text refers to.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// The footnotes of a story. Labels are compared without regard to capitals; the page itself is `None`.
#[derive(Debug, Default)]
pub(super) struct Footnotes {
    open: Vec<Option<String>>,
    defined: HashSet<String>,
    references: HashMap<Option<String>, Vec<String>>,
    boxes: Vec<(usize, Option<String>)>,
}

impl Footnotes {
    pub(super) fn open(&mut self, label: &str) {
        let label = label.to_lowercase();
        // The first definition of a label counts; none refers to a later one.
        let is_first = self.defined.insert(label.clone());
        self.open.push(is_first.then_some(label));
    }

    pub(super) fn close(&mut self) {
        self.open.pop();
    }

    pub(super) fn refer(&mut self, label: &str) {
        let from = self.open.last().cloned();
        // What a later definition of a label refers to is not shown.
        if from != Some(None) {
            self.references.entry(from.flatten()).or_default().push(label.to_lowercase());
        }
    }

    /// Takes note of the boxes that were found here.
    pub(super) fn boxes(&mut self, indexes: Range<usize>) {
        if let Some(footnote) = self.open.last() {
            self.boxes.extend(indexes.map(|index| (index, footnote.clone())));
        }
    }

    /// The boxes in footnotes that are not shown.
    pub(super) fn hidden_boxes(&self) -> Vec<usize> {
        let mut shown: HashSet<&String> = HashSet::new();
        let mut left = vec![&None];
        let labels: HashMap<&String, Option<String>> =
            self.defined.iter().map(|label| (label, Some(label.clone()))).collect();
        while let Some(from) = left.pop() {
            for label in self.references.get(from).into_iter().flatten() {
                if shown.insert(label) {
                    left.extend(labels.get(label));
                }
            }
        }
        let is_shown = |footnote: &Option<String>| footnote.as_ref().is_some_and(|label| shown.contains(label));
        self.boxes.iter().filter(|(_, footnote)| !is_shown(footnote)).map(|(index, _)| *index).collect()
    }
}
