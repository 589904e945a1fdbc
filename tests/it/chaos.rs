//! Fails if the page of the fault tours shows other runs than the latest ones, or misses an incomplete one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::root;

/// Replaces cacheproof: each run creates a directory with a report, unless the file `nothing` exists.
const FAKE_CACHEPROOF: &str = r#"#!/bin/sh
if [ "$1" = report ]; then
    shift
    for argument in "$@"; do echo "$argument" >> "$STAGE/shown"; done
    exit 0
fi
name=$(basename "$2" .toml)
shift 2
while [ $# -gt 0 ]; do
    case $1 in
        --reports) reports=$2; shift ;;
        --reports=*) reports=${1#--reports=} ;;
    esac
    shift
done
code=$(cat "$STAGE/$name")
if [ ! -e "$STAGE/nothing" ]; then
    mkdir -p "$reports/20260102T000000Z-$name"
    touch "$reports/20260102T000000Z-$name/report.html"
fi
exit "$code"
"#;

/// Runs the tours with these exit codes. Returns the script's exit code, and the arguments of `report`.
fn chaos(stage: &Path, codes: [i32; 2], arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let program = stage.join("cacheproof");
    std::fs::write(&program, FAKE_CACHEPROOF).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    for (name, code) in [("fault-tour", codes[0]), ("fault-tour-cluster", codes[1])] {
        std::fs::write(stage.join(name), code.to_string()).expect("written");
    }
    let mut script = Command::new("sh");
    script.arg(root().join("scripts/chaos.sh")).args(arguments).env("CACHEPROOF", &program).env("STAGE", stage);
    let output = script.output().expect("there is a shell");
    let shown = std::fs::read_to_string(stage.join("shown")).unwrap_or_default();
    let _none = std::fs::remove_file(stage.join("shown"));
    (output.status.code(), shown.lines().map(str::to_owned).collect())
}

/// An old run, with the link `latest` to it.
fn old_run(reports: &Path) {
    let old = reports.join("20250101T000000Z-fault-tour");
    std::fs::create_dir_all(&old).expect("made");
    std::fs::write(old.join("report.html"), "").expect("written");
    std::os::unix::fs::symlink("20250101T000000Z-fault-tour", reports.join("latest")).expect("linked");
}

#[test]
fn the_page_shows_the_latest_runs_in_any_reports_directory() {
    let stage = tempfile::tempdir().expect("a temporary directory");
    let reports = stage.path().join("my reports");
    old_run(&reports);
    let text = reports.display().to_string();
    let expected = vec![
        format!("{text}/20260102T000000Z-fault-tour"),
        format!("{text}/20260102T000000Z-fault-tour-cluster"),
        "--together".to_owned(),
        format!("{text}/fault-tour.html"),
    ];
    let (code, shown) = chaos(stage.path(), [0, 4], &["--set", "traffic.rate=1/s", "--reports", &text]);
    assert_eq!((code, &shown), (Some(4), &expected));
    // An incomplete run has a report, too, and is shown.
    let _gone = std::fs::remove_dir_all(&reports);
    old_run(&reports);
    let (code, shown) = chaos(stage.path(), [3, 0], &[&format!("--reports={text}")]);
    assert_eq!((code, &shown), (Some(3), &expected));
}

#[test]
fn a_tour_that_measured_nothing_is_not_replaced_by_an_old_one() {
    let stage = tempfile::tempdir().expect("a temporary directory");
    let reports = stage.path().join("reports");
    old_run(&reports);
    std::fs::write(stage.path().join("nothing"), "").expect("written");
    let (code, shown) = chaos(stage.path(), [3, 0], &["--reports", &reports.display().to_string()]);
    assert_eq!((code, shown), (Some(3), Vec::new()));
}
