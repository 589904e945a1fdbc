//! The commands `report` and `report --together`.

use std::path::Path;
use std::process::Command;

use cacheproof::journal::{JOURNAL_FILE, JournalWriter};
use cacheproof::measurements::Measurements;
use cacheproof::report::render;
use cacheproof::verdict::judge;
use tempfile::TempDir;

use crate::support::CACHEPROOF;
use cacheproof_simulated::{HOSTILE, SimulationPlan, journal, scenario};

fn rendered(plan: &SimulationPlan) -> Vec<(String, Vec<u8>)> {
    let (scenario, measurements) = (scenario(plan), Measurements::of(&journal(plan)));
    render(&scenario, &measurements, &judge(&scenario, &measurements)).expect("it renders")
}

/// A run's directory with nothing but its journal.
pub fn run_directory(plan: &SimulationPlan) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut writer = JournalWriter::create(directory.path()).expect("a journal");
    for line in journal(plan) {
        writer.append(&line).expect("a line");
    }
    directory
}

fn cacheproof(arguments: &[&str], directory: &Path) -> std::process::Output {
    Command::new(CACHEPROOF).args(arguments).current_dir(directory).output().expect("it starts")
}

#[test]
fn report_renders_the_same_bytes_again_and_prints_the_verdict() {
    let directory = run_directory(&SimulationPlan::default());
    let read = || {
        let mut files: Vec<(String, Vec<u8>)> = rendered(&SimulationPlan::default());
        for (name, bytes) in &mut files {
            *bytes = std::fs::read(directory.path().join(&*name)).expect("it was written");
        }
        files
    };
    let output = cacheproof(&["report", "."], directory.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("✔ PASS  Story 3.1") && !said.contains('\u{1b}'), "{said}");
    let first = read();
    assert!(first == rendered(&SimulationPlan::default()), "the command writes what the library renders");
    cacheproof(&["report", "."], directory.path());
    assert!(first == read());
    let left = std::fs::read_dir(directory.path()).unwrap().filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".cacheproof-"))
    });
    assert_eq!(left.count(), 0, "temporary files are gone");
}

#[test]
fn a_journal_cut_off_in_the_middle_of_a_line_is_reported_as_incomplete() {
    let directory = run_directory(&SimulationPlan::default());
    let path = directory.path().join(JOURNAL_FILE);
    let journal = std::fs::read(&path).unwrap();
    std::fs::write(&path, &journal[..journal.len() / 2]).unwrap();
    let output = cacheproof(&["report", "."], directory.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("? INCONCLUSIVE") && said.contains("cacheproof itself was killed or crashed"), "{said}");
}

#[test]
fn a_directory_without_a_run_is_a_wrong_argument() {
    let directory = tempfile::tempdir().unwrap();
    let output = cacheproof(&["report"], directory.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("reports/latest") && said.contains("name the directory of a run"), "{said}");
}

/// Fails if a page of several runs lost one, let markup in, or linked to nothing.
#[test]
fn several_runs_come_together_on_one_page() {
    let parent = tempfile::tempdir().expect("a directory");
    let hostile = SimulationPlan { hostile: true, ..SimulationPlan::default() };
    for (name, plan) in [("healthy", &SimulationPlan::default()), ("hostile", &hostile)] {
        std::fs::rename(run_directory(plan).keep(), parent.path().join(name)).expect("it moves");
    }
    let output = cacheproof(&["report", "healthy", "hostile", "--together", "both.html"], parent.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(parent.path().join("both.html")).expect("the page");
    for link in ["healthy/report.html", "hostile/report.html"] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}");
        assert!(parent.path().join(link).exists(), "{link}");
        // The same figures as in the run's own report.
        let row = page.split("<tr>").find(|row| row.contains(link)).expect("a row");
        let cells = row.split("<td class=\"n\">").skip(1).map(|cell| cell.split('<').next().unwrap_or_default());
        let cells: Vec<String> = cells.map(|cell| cell.chars().filter(char::is_ascii_digit).collect()).collect();
        let summary = std::fs::read(parent.path().join(link).with_file_name("summary.json")).expect("it is there");
        let summary: serde_json::Value = serde_json::from_slice(&summary).expect("JSON");
        let freshness = |name: &str| summary["freshness"][name].as_u64().unwrap_or(0).to_string();
        assert_eq!(cells[3..5], [freshness("judged"), freshness("stale")], "{row}");
    }
    assert_eq!(page.matches("kill redis</strong>").count(), 2, "one fault of each run");
    assert!(!page.contains("<script") && !page.contains(HOSTILE), "markup came through");
    // It replaces its own page, and nothing else.
    let again = cacheproof(&["report", "healthy", "--together", "both.html"], parent.path());
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    std::fs::write(parent.path().join("precious.toml"), "title = 'mine'").expect("written");
    std::fs::write(parent.path().join("empty"), "").expect("written");
    std::os::unix::fs::symlink("both.html", parent.path().join("link")).expect("made");
    for other in ["precious.toml", "empty", "healthy/report.html", "healthy/events.jsonl", "healthy", "link", ".", ""] {
        let before = std::fs::read(parent.path().join(other)).ok();
        let refused = cacheproof(&["report", "healthy", "--together", other], parent.path());
        assert_eq!(refused.status.code(), Some(2), "{other}: {}", String::from_utf8_lossy(&refused.stderr));
        assert_eq!(std::fs::read(parent.path().join(other)).ok(), before, "{other}");
    }
    let missing = cacheproof(&["report", "healthy", "nowhere", "--together", "both.html"], parent.path());
    assert_eq!(missing.status.code(), Some(2), "{}", String::from_utf8_lossy(&missing.stderr));
}
