//! The freshness floor: for each item, the highest version that a write was acknowledged with.
//!
//! A read takes the floor before it is sent; an answer with a lower version is stale, whatever the clocks say.
//! A write whose outcome is unknown raises nothing, so there are no false positives. 8 bytes an item.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Floors of every kind of item that the traffic writes, by the path template without its query.
#[derive(Debug, Default)]
pub struct Versions {
    floors: BTreeMap<String, Vec<AtomicU64>>,
}

impl Versions {
    /// For these path templates with the number of their items.
    pub fn new(templates: impl IntoIterator<Item = (String, u64)>) -> Self {
        let floors = templates
            .into_iter()
            .map(|(template, size)| (template, (0..=size).map(|_| AtomicU64::new(0)).collect()))
            .collect();
        Self { floors }
    }

    /// The lowest version that a read sent now may be answered with; 0 where nothing was written.
    pub fn floor(&self, template: &str, id: u64) -> u64 {
        self.cell(template, id).map_or(0, |cell| cell.load(Ordering::SeqCst))
    }

    /// A write was acknowledged with this version.
    pub fn acknowledge(&self, template: &str, id: u64, version: u64) {
        if let Some(cell) = self.cell(template, id) {
            cell.fetch_max(version, Ordering::SeqCst);
        }
    }

    fn cell(&self, template: &str, id: u64) -> Option<&AtomicU64> {
        self.floors.get(template)?.get(usize::try_from(id).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_acknowledgement_never_lowers_the_floor() {
        let versions = Versions::new([("/posts/{post}".to_owned(), 10)]);
        assert_eq!(versions.floor("/posts/{post}", 3), 0);
        versions.acknowledge("/posts/{post}", 3, 7);
        versions.acknowledge("/posts/{post}", 3, 6);
        assert_eq!(versions.floor("/posts/{post}", 3), 7);
        assert_eq!(versions.floor("/posts/{post}", 4), 0);
        assert_eq!(versions.floor("/profiles/{profile}", 3), 0, "items that are never written have no floor");
    }
}
