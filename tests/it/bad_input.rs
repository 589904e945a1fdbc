//! Fails if an error gives more than one message, the wrong exit code, or leaves something behind.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{CACHEPROOF, CompletedRun, START, command, completed_run, edited, eventually, root, run_scenario};

fn nginx() -> std::path::PathBuf {
    root().join("tests/scenarios/nginx.toml")
}

/// One message that says what is wrong, the correct exit code, and no run directory.
fn assert_refused(ran: &CompletedRun, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}", ran.said());
    for word in words {
        assert!(ran.stderr.contains(word), "the message lacks '{word}'; {}", ran.said());
    }
    assert!(!ran.stderr.contains("panicked"), "{}", ran.said());
    let left: Vec<_> = std::fs::read_dir(ran.reports.path()).expect("it reads").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn all_mistakes_of_a_scenario_are_reported() {
    let changes = [
        ("seed = 7", "sead = 7"),
        ("lasts = \"5s\"", "lasts = 5"),
        ("hit_rate > 60% in cached", "hit_rate > 60% in stedy"),
    ];
    let (_kept, file) = edited(&nginx(), &changes);
    let ran = run_scenario(&file, &[]);
    assert_refused(&ran, 2, &["sead", "seed", "lasts", "5s", "stedy"]);
}

#[test]
fn of_a_thousand_mistakes_the_first_twenty_are_shown() {
    let mistakes: String = (1..=1000).map(|number| format!("key{number} = 1\n")).collect();
    let (_kept, file) = edited(&nginx(), &[("seed = 7", mistakes.as_str())]);
    let ran = run_scenario(&file, &[]);
    assert_refused(&ran, 2, &["1000 errors", "no key \"key20\"", "and 980 more"]);
    assert!(!ran.stderr.contains("no key \"key21\""), "{}", ran.said());
}

#[test]
fn a_missing_scenario_file_is_reported() {
    assert_refused(&run_scenario(Path::new("scenarios/none.toml"), &[]), 2, &["scenarios/none.toml"]);
}

#[test]
fn an_unreachable_url_is_reported_with_what_to_check() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let (_kept, file) = edited(&nginx(), &[(START, &format!("url = \"http://127.0.0.1:{port}\""))]);
    let ran = run_scenario(&file, &[]);
    assert_refused(&ran, 3, &[&format!("127.0.0.1:{port}"), "is the app running"]);
}

#[test]
fn an_app_that_cannot_start_is_reported_with_its_last_lines() {
    let sets = ["target.start=[\"sh\", \"-c\", \"echo no licence found >&2; exit 7\"]".to_owned()];
    assert_refused(&run_scenario(&nginx(), &sets), 3, &["ended before it was ready", "no licence found", "7"]);
}

#[test]
fn an_unreachable_external_server_is_reported_without_its_password() {
    let sets = [
        "stack.redis.provider=\"external\"".to_owned(),
        "stack.redis.url=\"redis://:hunter2@127.0.0.1:1/0\"".to_owned(),
    ];
    let ran = run_scenario(&nginx(), &sets);
    assert_refused(&ran, 3, &["127.0.0.1:1"]);
    assert!(!ran.said().contains("hunter2"), "{}", ran.said());
}

#[test]
fn a_stopped_docker_is_reported_with_what_to_do() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let file = root().join("tests/scenarios/frozen.toml");
    let mut command = command(&file, &["stack.redis.provider=\"container\"".to_owned()], reports.path());
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let ran = completed_run(command.output().expect("the program runs"), reports);
    assert_refused(&ran, 3, &["Docker", "local"]);
}

#[test]
fn a_read_only_reports_directory_is_reported_before_anything_starts() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // Root may write anywhere, but not create a directory below a file.
    let file = directory.path().join("a file");
    std::fs::write(&file, "").expect("written");
    let output = command(&nginx(), &[], &file.join("reports")).output().expect("the program runs");
    let ran = completed_run(output, directory);
    assert_eq!(ran.code, Some(3), "{}", ran.said());
    assert!(ran.stderr.contains("can't write reports") && ran.stderr.contains("--reports"), "{}", ran.said());
}

#[test]
fn a_full_disk_ends_the_run_and_keeps_what_was_measured() {
    // No file may grow beyond 8 KiB: for the journal that is a full disk, and it needs no root.
    let reports = tempfile::tempdir().expect("a temporary directory");
    let run = command(&nginx(), &[], reports.path());
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]).arg(run.get_program()).args(run.get_args());
    let output = limited.current_dir(root()).output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("can't write") && said.contains("events.jsonl"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let kept = std::fs::read_dir(reports.path())
        .expect("it reads")
        .filter_map(|entry| std::fs::metadata(entry.ok()?.path().join("events.jsonl")).ok())
        .map(|file| file.len())
        .max();
    assert!(kept.is_some_and(|length| length > 4_000), "the journal kept {kept:?} bytes");
}

#[test]
fn an_app_that_dies_ends_the_run_and_keeps_what_was_measured() {
    let sets =
        ["target.start=[\"sh\", \"-c\", \"timeout 6 sh tests/fixtures/nginx-cache/start.sh {port} {dir}\"]".to_owned()];
    let ran = run_scenario(&nginx(), &sets);
    assert_eq!(ran.code, Some(3), "{}", ran.said());
    assert!(ran.stderr.contains("the app ended unexpectedly"), "{}", ran.said());
    let measurements = ran.measurements();
    assert!(measurements.count(|_| true) > 100, "what was measured is kept: {}", ran.said());
    assert!(ran.directory().join("report.html").exists(), "and reported");
    let summary = ran.summary();
    assert_ne!(summary["verdict"]["ruling"], "pass");
}

#[test]
fn serve_reports_a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(CACHEPROOF)
        .args(["serve", "--listen", &address])
        .env("DATABASE_URL", "postgres://postgres@127.0.0.1:1/none")
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

#[test]
fn an_app_whose_port_is_in_use_is_reported_with_its_own_message() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let start = START.replace("{port}", &port);
    let (_kept, file) = edited(&nginx(), &[(START, &start)]);
    assert_refused(&run_scenario(&file, &[]), 3, &["ended before it was ready", "in use"]);
}

#[test]
fn passwords_of_the_apps_url_are_never_shown() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let url = format!("url = \"http://me:hunter2@127.0.0.1:{port}\"");
    let (_kept, file) = edited(&nginx(), &[(START, &url)]);
    let ran = run_scenario(&file, &[]);
    assert_refused(&ran, 3, &["gave no 2xx answer"]);
    assert!(!ran.said().contains("hunter2"), "{}", ran.said());
}

#[test]
fn a_scenario_path_that_is_a_directory_is_reported() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("dir.toml");
    std::fs::create_dir(&file).expect("made");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).expect("set");
    assert_refused(&run_scenario(&file, &[]), 2, &["dir.toml"]);
}

#[test]
fn an_error_of_the_system_is_printed_once() {
    let output = Command::new(CACHEPROOF).args(["report", "/no/such/run"]).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("No such file or directory").count(), 1, "{said}");
}

#[test]
fn a_run_that_cannot_start_leaves_nothing_behind() {
    // Its own temporary directory, which other runs do not use.
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let reports = tempfile::tempdir().expect("a temporary directory");
    let (_kept, file) = edited(&nginx(), &[(START, "start = [\"sh\", \"-c\", \"exit 1\"]")]);
    let mut command = command(&file, &[], reports.path());
    let ran = completed_run(command.env("TMPDIR", temporary.path()).output().expect("the program runs"), reports);
    assert_refused(&ran, 3, &["ended before it was ready"]);
    let left = || std::fs::read_dir(temporary.path()).expect("it reads").count();
    eventually(Duration::from_secs(50), "the temporary directory is empty", || left() == 0);
}
