//! The table of defects, by theme. Each is planted by changing the app's settings, by wrapping its routes, or by a front cache with one
//! screw turned.

mod database;
mod hits;
mod instances;
mod keys;
mod leaks;
mod outages;
mod people;
mod races;

use crate::RouteWrapper;
use reference_app::ServeArgs;

/// One defective deployment: what is wrong with it, and what must show it.
#[derive(Debug)]
pub struct Defect {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it does, in half a sentence.
    pub what: &'static str,
    /// The file in tests/scenarios that shows it, without `.toml`.
    pub scenario: &'static str,
    /// The criterion that must fail, by its words; empty for what is healthy.
    pub caught_by: &'static str,
    /// Whether it needs somebody to start it again when it ends.
    pub supervised: bool,
    /// Changes the settings; answers what wraps the routes.
    pub(crate) install: fn(&mut ServeArgs) -> RouteWrapper,
}

impl Defect {
    const fn new(name: &'static str, what: &'static str, install: fn(&mut ServeArgs) -> RouteWrapper) -> Self {
        Self { name, what, scenario: "", caught_by: "", supervised: false, install }
    }

    const fn caught(mut self, scenario: &'static str, by: &'static str) -> Self {
        self.scenario = scenario;
        self.caught_by = by;
        self
    }

    const fn supervised(mut self) -> Self {
        self.supervised = true;
        self
    }
}

/// What must pass every scenario.
pub static HEALTHY: [Defect; 2] = [
    Defect::new("none", "the healthy app", |_| Box::new(|_, routes| routes)),
    Defect::new("front", "the healthy app behind the fixture's own cache, no screw turned", |args| {
        crate::front_cache::install(args, crate::front_cache::FrontCacheConfig::default())
    }),
];

/// The scenarios that show them, without `.toml`.
pub const SCENARIOS: [&str; 8] = [
    "defects",
    "defects-freshness",
    "defects-people",
    "defects-instances",
    "defects-dead",
    "defects-frozen",
    "defects-database",
    "defects-soak",
];

/// All defects, by theme.
pub fn defects() -> impl Iterator<Item = &'static Defect> {
    [
        &hits::TABLE[..],
        &keys::TABLE,
        &races::TABLE,
        &people::TABLE,
        &instances::TABLE,
        &outages::TABLE,
        &database::TABLE,
        &leaks::TABLE,
    ]
    .into_iter()
    .flatten()
}

/// A defect, or a healthy deployment, by its name.
///
/// # Errors
/// There is none of that name; the message has all names.
pub fn find(name: &str) -> Result<&'static Defect, String> {
    let known = || HEALTHY.iter().chain(defects());
    known()
        .find(|defect| defect.name == name)
        .ok_or_else(|| format!("write one of {}", known().map(|defect| defect.name).collect::<Vec<_>>().join(", ")))
}

/// The table, for `--help`.
pub fn help() -> String {
    let line = |defect: &Defect| format!("  {:26} {}", defect.name, defect.what);
    format!("Defects:\n{}", HEALTHY.iter().chain(defects()).map(line).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_defect_has_a_name_of_its_own_and_a_scenario_that_has_its_criterion() {
        let names: BTreeSet<_> = HEALTHY.iter().chain(defects()).map(|defect| defect.name).collect();
        assert_eq!(names.len(), HEALTHY.len() + defects().count());
        for defect in defects() {
            assert!(SCENARIOS.contains(&defect.scenario), "{}", defect.name);
            let file = format!("{}/../../tests/scenarios/{}.toml", env!("CARGO_MANIFEST_DIR"), defect.scenario);
            let text = std::fs::read_to_string(file).expect("the scenario");
            assert!(text.contains(&format!("says = \"{}\"", defect.caught_by)), "{}", defect.name);
        }
    }
}
