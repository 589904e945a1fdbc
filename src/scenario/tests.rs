//! The room's tests that need more than one of its files.

use std::fmt::Write as _;
use std::path::Path as FilePath;
use std::time::Duration;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::*;

fn story() -> Scenario {
    let file = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/story-3.1.toml");
    load(&file, &[]).unwrap_or_else(|errors| panic!("{}", shown(&errors))).scenario
}

/// As the user sees it, without colours, 100 columns wide.
fn shown(errors: &ScenarioErrors) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .with_links(false)
        .render_report(&mut text, errors)
        .unwrap();
    text
}

#[test]
fn every_scenario_of_the_repository_is_right() {
    let mut count = 0;
    for entry in std::fs::read_dir(FilePath::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap() {
        let path = entry.unwrap().path();
        let loaded = load(&path, &[]).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        assert_eq!(parse("again", &loaded.text).unwrap(), loaded.scenario);
        count += 1;
    }
    assert!(count >= 2, "only {count} scenarios were found");
}

#[test]
fn the_story_is_read_as_it_is_meant() {
    let story = story();
    assert!(story.planned_length() <= Duration::from_secs(88));
    assert_eq!(story.phases[3].fault.as_ref().unwrap().after, Duration::from_secs(3));
    assert_eq!(story.key_space("post"), Some(("posts", 10_000)));
    assert_eq!(story.target.bypass, Some(BypassSpec::Header("Cache-Control".into(), "no-store".into())));
    let mut rules = String::new();
    for rule in story.criteria.iter().flat_map(|criterion| &criterion.rules) {
        writeln!(rules, "{}", rule.display(&story)).unwrap();
        assert_eq!(rule.display(&story).to_string(), rule.text);
    }
    assert_eq!(rules.lines().count(), 15);
}
