//! Fails if a reader that goes away changes what a command does, or if what could not be written passes for written.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::interrupt::assert_nothing_left;
use crate::support::{CACHEPROOF, command, eventually, root};

fn cacheproof(words: &[&str]) -> Command {
    let mut command = Command::new(CACHEPROOF);
    command.args(words).current_dir(root()).stdin(Stdio::null());
    command
}

/// The end of a pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").expect("there is /dev/full").into()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const COMMANDS: [&[&str]; 8] = [
    &["--help"],
    &["--version"],
    &["run", "--help"],
    &["doctor"],
    &["check", "tests/scenarios/broken.toml"],
    &["check", "scenarios/none.toml"],
    &["run", "scenarios/none.toml"],
    &["bogus"],
];

#[test]
fn a_reader_that_goes_away_changes_no_exit_code() {
    for words in COMMANDS {
        let code = cacheproof(words).output().expect("it runs").status.code();
        let closed = cacheproof(words).stdout(closed_pipe()).output().expect("it runs");
        assert_eq!(closed.status.code(), code, "{words:?}: {}", said(&closed));
        let both = cacheproof(words).stdout(closed_pipe()).stderr(closed_pipe()).status().expect("it runs");
        assert_eq!(both.code(), code, "{words:?} without stderr");
    }
}

#[test]
fn output_that_could_not_be_written_is_no_success() {
    for words in COMMANDS {
        let code = cacheproof(words).output().expect("it runs").status.code();
        let full = cacheproof(words).stdout(full_disk()).output().expect("it runs");
        let said = said(&full);
        if code == Some(0) {
            assert_eq!(full.status.code(), Some(3), "{words:?}: {said}");
            assert!(said.contains("can't write to standard output"), "{words:?}: {said}");
        } else {
            assert_eq!(full.status.code(), code, "{words:?}: {said}");
        }
    }
}

#[test]
fn the_verdict_is_printed_although_the_report_cannot_be_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::copy(root().join("reports/sample/events.jsonl"), directory.path().join("events.jsonl")).expect("copied");
    // No file can take the place of a directory that is not empty.
    std::fs::create_dir_all(directory.path().join("report.html/full")).expect("made");
    let output = cacheproof(&["report", &directory.path().display().to_string()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("PASS"), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't write"), "{}", said(&output));
}

#[test]
fn a_run_goes_on_to_its_report_when_its_reader_goes_away_in_the_middle_of_a_fault() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let sets =
        ["phase.broken.lasts='4s'".to_owned(), "phase.broken.fault={ pause = 'redis', lasts = '1s' }".to_owned()];
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = command(&root().join("tests/scenarios/broken.toml"), &sets, reports.path());
    let errors = writer.try_clone().expect("a copy");
    let mut child = command.stdout(writer).stderr(errors).spawn().expect("it runs");
    // The command holds the other copies.
    drop(command);
    let mut text = String::new();
    let mut buffer = [0; 256];
    while !text.contains("fault 'pause redis' injected") {
        let read = std::io::Read::read(&mut reader, &mut buffer).expect("it reads");
        assert!(read > 0, "it ended: {text}");
        text += &String::from_utf8_lossy(&buffer[..read]);
    }
    let token = crate::interrupt::token_of(child.id());
    drop(reader);
    let status = child.wait().expect("it ends");
    assert!(matches!(status.code(), Some(0 | 1 | 4)), "{status}");
    assert!(reports.path().join("latest/report.html").exists(), "it wrote its report");
    assert_nothing_left(&token);
}

#[test]
fn the_log_of_the_app_is_kept_with_the_report() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let start = format!("target.start=['sh', '-c', 'echo it begins with $REDIS_URL; exec {CACHEPROOF} serve']");
    let sets = [
        "phase.broken.lasts='2s'".to_owned(),
        "phase.broken.fault={ latency = 'redis', delay = '1ms' }".to_owned(),
        start,
    ];
    let output = command(&root().join("tests/scenarios/broken.toml"), &sets, reports.path()).output().expect("it runs");
    let log = reports.path().join("latest/app.log");
    eventually(Duration::from_secs(1), &said(&output), || Path::new(&log).exists());
    let log = std::fs::read_to_string(log).expect("it reads");
    assert!(log.contains("it begins with redis://") && log.contains("***@"), "the password is struck out: {log}");
}
