//! The table of defects, by theme. A defect changes the app's settings, wraps its routes, or changes one setting of the
//! fixture's own cache ([`crate::front_cache`]).

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

/// One defective deployment, and the criterion that must fail.
#[derive(Debug)]
pub struct Defect {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is wrong, in half a sentence.
    pub what: &'static str,
    /// The file in tests/scenarios that shows it, without `.toml`.
    pub scenario: &'static str,
    /// The text of the criterion that must fail; empty for a healthy deployment.
    pub caught_by: &'static str,
    /// Whether it is started again when it exits.
    pub supervised: bool,
    /// Changes the settings; returns what wraps the routes.
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

/// The deployments that must pass every scenario.
pub static HEALTHY: [Defect; 2] = [
    Defect::new("none", "the healthy app", |_| Box::new(|_, routes| routes)),
    Defect::new("front", "the healthy app behind the fixture's own cache, without a defect", |args| {
        crate::front_cache::install(args, crate::front_cache::FrontCacheConfig::default())
    }),
];

/// The scenarios that show the defects, without `.toml`.
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

/// The defect, or healthy deployment, with this name.
///
/// # Errors
/// There is none; the message lists all names.
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
    fn names_are_unique_and_every_scenario_has_the_criterion_of_its_defects() {
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
