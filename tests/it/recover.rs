//! `cacheproof recover` reports only what it has undone, and never undoes what the guard is undoing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cacheproof::supervise::{
    Guard, GuardError, LEDGER_FILE, LedgerEntry, LedgerLine, Machine, Process, Undo, read_ledger,
};
use tempfile::TempDir;

use crate::support::{CACHEPROOF, eventually};

/// The ledger of a run whose cacheproof has ended.
struct AbandonedRun {
    reports: TempDir,
    ledger: PathBuf,
    token: String,
}

impl AbandonedRun {
    fn new(containers: bool, entries: &[LedgerEntry]) -> Self {
        Self::on(Some(Machine::here()), containers, entries)
    }

    /// Whose ledger was written on this machine.
    fn on(machine: Option<Machine>, containers: bool, entries: &[LedgerEntry]) -> Self {
        let reports = tempfile::tempdir().expect("a temporary directory");
        let (ledger, token) = Self::add(reports.path(), machine, containers, entries);
        Self { reports, ledger, token }
    }

    /// Adds another run to a directory of reports.
    fn add(reports: &Path, machine: Option<Machine>, containers: bool, entries: &[LedgerEntry]) -> (PathBuf, String) {
        let token = format!("{:012x}", rand::random::<u64>() >> 16);
        let run = reports.join(format!("run-{token}"));
        std::fs::create_dir(&run).expect("made");
        let directory = std::env::temp_dir().join(format!("cacheproof-{token}"));
        let first = LedgerEntry::Run {
            token: token.clone(),
            directory,
            pid: std::process::id(),
            started: "at another time".into(),
            containers,
            machine,
        };
        let lines = std::iter::once(&first).chain(entries).map(|entry| {
            serde_json::to_string(&LedgerLine { at: 1, entry: entry.clone() }).expect("it is JSON") + "\n"
        });
        let ledger = run.join(LEDGER_FILE);
        std::fs::write(&ledger, lines.collect::<String>()).expect("written");
        (ledger, token)
    }

    fn recover(&self) -> Command {
        let mut command = Command::new(CACHEPROOF);
        command.arg("recover").arg(self.reports.path());
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn containers_do_not_count_as_removed_when_docker_does_not_answer() {
    for (containers, code, over) in [(true, 3, false), (false, 0, true)] {
        let left = AbandonedRun::new(containers, &[]);
        let output = left.recover().env("DOCKER_HOST", "unix:///nowhere.sock").output().expect("it runs");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.contains("Docker does not answer"), containers, "{said}");
        assert_eq!(said.contains(&format!("label=cacheproof.run={}", left.token)), containers, "{said}");
        assert_eq!(read_ledger(&left.ledger).expect("it reads").over, over, "{said}");
    }
}

#[test]
fn a_command_with_a_variable_of_the_run_never_reaches_another_server() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("log");
    let run = format!("echo $CACHEPROOF_DATABASE_URL >> {}", log.display());
    let undo = Undo::Command { run, directory: directory.path().into() };
    let left = AbandonedRun::new(false, &[LedgerEntry::Open { id: 1, what: "run".into(), undo }]);
    let output = left.recover().env("DATABASE_URL", "postgres://another").output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let message = "was not run: it needs CACHEPROOF_DATABASE_URL, which only the run knew";
    assert!(said(&output).contains(message), "{}", said(&output));
    assert!(!log.exists() && read_ledger(&left.ledger).expect("it reads").open.len() == 1);

    let output = left.recover().env("CACHEPROOF_DATABASE_URL", "postgres://there").output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(std::fs::read_to_string(&log).expect("it was undone"), "postgres://there\n");
    assert!(read_ledger(&left.ledger).expect("it reads").over);
}

#[test]
fn faults_that_a_guard_is_undoing_are_not_undone_twice() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (log, go) = (directory.path().join("log"), directory.path().join("go"));
    let run = format!("echo undone >> {}; until [ -e {} ]; do sleep 0.05; done", log.display(), go.display());
    let undo = Undo::Command { run, directory: directory.path().into() };
    let open = LedgerEntry::Open { id: 1, what: "run".into(), undo: undo.clone() };
    let left = AbandonedRun::new(false, &[open]);

    let mut guard = Command::new(CACHEPROOF)
        .args(["guard", &left.token])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut pipe = guard.stdin.take().expect("it is piped");
    write!(
        pipe,
        "ledger {}\nundo 1 {}\n",
        serde_json::to_string(&left.ledger).expect("JSON"),
        serde_json::to_string(&undo).expect("JSON")
    )
    .expect("it listens");
    // As when cacheproof is killed.
    drop(pipe);
    eventually(Duration::from_secs(50), "the guard is at work", || log.exists());

    let mut recover = left.recover().stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(recover.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    assert!(first.contains("its guard is still at work; waiting for it"), "{first}");
    std::fs::write(&go, "").expect("written");
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("its guard has undone what was left")), "{rest:?}");
    assert_eq!(recover.wait().expect("it ends").code(), Some(0));
    assert!(guard.wait().expect("it ends").success());
    let undone = std::fs::read_to_string(&log).expect("it was undone");
    assert_eq!(undone.lines().count(), 1, "undone once");
}

#[test]
fn an_unreadable_ledger_does_not_hide_the_others() {
    let left = AbandonedRun::new(false, &[]);
    let (unreadable, _) = AbandonedRun::add(left.reports.path(), None, false, &[]);
    std::fs::remove_file(&unreadable).expect("it was there");
    // It can be opened but not read, also by root.
    std::os::unix::fs::symlink("/proc/self/mem", &unreadable).expect("made");
    let output = left.recover().output().expect("it runs");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("{}: it can't be used", unreadable.display())), "{said}");
    assert!(said.contains("is a symbolic link"), "{said}");
    assert!(read_ledger(&left.ledger).expect("it reads").over, "the other run is recovered: {said}");
}

#[test]
fn a_guard_that_could_not_undo_something_says_so_at_the_end() {
    let guard = Guard::start(Path::new(CACHEPROOF)).expect("it starts");
    guard.watch_fault(1, &Undo::Command { run: "exit 7".into(), directory: "/".into() });
    let error = guard.release().expect_err("it could not be undone");
    assert!(matches!(error, GuardError::CleanupIncomplete(_)), "{error}");
    assert!(error.to_string().contains("could not remove or undo everything"), "{error}");
}

/// A fault whose undo leaves a mark.
fn fault_with_mark(mark: &Path) -> LedgerEntry {
    let run = format!("echo undone >> {}", mark.display());
    LedgerEntry::Open { id: 1, what: "run it".into(), undo: Undo::Command { run, directory: "/".into() } }
}

/// Calls `recover`, which must not end with 0 and must keep the ledger open; returns what it said.
fn refused(left: &AbandonedRun) -> String {
    let before = std::fs::read(&left.ledger).expect("it reads");
    let output = left.recover().output().expect("it runs");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(std::fs::read(&left.ledger).expect("it reads").starts_with(&before), "what was in it stays in it");
    assert!(!read_ledger(&left.ledger).is_ok_and(|state| state.over), "it stays open: {said}");
    said
}

#[test]
fn a_ledger_with_a_line_that_cannot_be_read_stays_open_and_the_rest_is_undone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mark = directory.path().join("mark");
    for (line, why) in [
        ("{\"at\":2,\"ent", "it was cut short"),
        ("\0\0\0\0\n", "it is no text"),
        ("{\"at\":2,\"entry\":{\"open\":{\"id\":2,\"what\":\"pause redis\",\"undo\":\"explode\"}}}\n", "'pause redis'"),
        ("{\"at\":2,\"entry\":{\"frozen\":{\"id\":2}}}\n", "a newer cacheproof may have written it"),
    ] {
        let left = AbandonedRun::new(false, &[fault_with_mark(&mark)]);
        let mut text = std::fs::read_to_string(&left.ledger).expect("it reads");
        text += line;
        std::fs::write(&left.ledger, text).expect("written");
        let said = refused(&left);
        assert!(said.contains("line 3 can't be read") && said.contains(why), "{said}");
        assert!(said.contains(&format!("CACHEPROOF_RUN={} /proc", left.token)), "what to look for: {said}");
        assert_eq!(std::fs::read_to_string(&mark).expect("the fault of line 2 is undone"), "undone\n", "{said}");
        refused(&left);
        assert_eq!(std::fs::read_to_string(&mark).expect("it reads"), "undone\n", "undone once");
        std::fs::remove_file(&mark).expect("it was there");
    }
}

#[test]
fn a_ledger_without_its_first_line_runs_no_command() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mark = directory.path().join("mark");
    let left = AbandonedRun::new(false, &[fault_with_mark(&mark)]);
    let text = std::fs::read_to_string(&left.ledger).expect("it reads");
    for text in ["", text.lines().last().expect("it has lines"), "\n\n"] {
        std::fs::write(&left.ledger, text).expect("written");
        let said = refused(&left);
        assert!(
            said.contains("the ledger does not say on which machine") || said.contains("the file is empty"),
            "{said}"
        );
        assert!(!mark.exists());
    }
}

#[test]
fn commands_and_numbers_of_processes_count_only_on_the_machine_and_the_boot_of_the_run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mark = directory.path().join("mark");
    let here = Machine::here();
    let elsewhere = Machine { id: "another".into(), host: "far".into(), ..here.clone() };
    let restarted = Machine { boot: "before".into(), ..here.clone() };
    for (machine, why) in [
        (Some(elsewhere), "it was written on another machine, far"),
        (Some(restarted), "the machine was restarted since, so `echo undone"),
        (None, "the ledger does not say on which machine it was written, so `echo undone"),
    ] {
        let mut child = Command::new("sleep").arg("600").spawn().expect("it runs");
        let process = Process::find(child.id()).expect("it runs");
        let entries = [LedgerEntry::Process { pid: process.pid, started: process.started }, fault_with_mark(&mark)];
        let said = refused(&AbandonedRun::on(machine, false, &entries));
        assert!(said.contains(why), "{said}");
        assert!(!mark.exists(), "{said}");
        assert!(child.try_wait().expect("it can be asked").is_none(), "its number means nothing there: {said}");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
}

#[test]
fn processes_in_the_ledger_are_ended_with_their_children_but_no_others() {
    let spawn = || {
        // It has no mark of the run: it emptied its environment, and so did its child.
        let mut command = Command::new("env");
        command.args(["-i", "sh", "-c", "sleep 600 & sleep 600; wait"]);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().expect("it runs")
    };
    let (mut ours, mut other) = (spawn(), spawn());
    let process = Process::find(ours.id()).expect("it runs");
    eventually(Duration::from_secs(50), "it has a child", || !process.children().is_empty());
    let child = process.children().remove(0);
    let entries = [
        LedgerEntry::Process { pid: process.pid, started: process.started },
        LedgerEntry::Process { pid: other.id(), started: "at another time".into() },
        LedgerEntry::Process { pid: 0, started: "1".into() },
        LedgerEntry::Process { pid: 1, started: "1".into() },
        LedgerEntry::Process { pid: u32::MAX, started: "1".into() },
    ];
    let left = AbandonedRun::new(false, &entries);
    let output = left.recover().output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    ours.wait().expect("it was killed");
    eventually(Duration::from_secs(50), "its child ends", || !child.is_alive());
    assert!(other.try_wait().expect("it can be asked").is_none(), "its number was used again: it is another process");
    let rest = Process::find(other.id()).expect("it lives").children();
    other.kill().expect("it runs");
    other.wait().expect("it ends");
    for process in rest {
        process.signal(nix::sys::signal::Signal::SIGKILL);
    }
}

#[test]
fn a_ledger_that_names_another_directory_removes_nothing() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let precious = parent.path().join("precious");
    std::fs::create_dir(&precious).expect("made");
    std::fs::write(precious.join("file"), "x").expect("written");
    std::os::unix::fs::symlink(&precious, parent.path().join("cacheproof-ab12")).expect("made");
    let named = |token: &str, directory: &Path| {
        let left = AbandonedRun::new(false, &[]);
        let run = LedgerEntry::Run {
            token: token.into(),
            directory: directory.into(),
            pid: 1,
            started: "x".into(),
            containers: false,
            machine: Some(Machine::here()),
        };
        let line = serde_json::to_string(&LedgerLine { at: 1, entry: run }).expect("it is JSON") + "\n";
        std::fs::write(&left.ledger, line).expect("written");
        let said = refused(&left);
        assert!(said.contains("is not the directory of a run"), "{said}");
    };
    named("ab12", &precious);
    named("ab12", &parent.path().join("cacheproof-ab12"));
    named("ab12", &parent.path().join("none/../precious"));
    named("ab12", &parent.path().join("precious/cacheproof-ab12/.."));
    named("", parent.path());
    assert!(precious.join("file").exists());
}

#[test]
fn a_ledger_that_others_can_write_and_a_pipe_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mark = directory.path().join("mark");
    let left = AbandonedRun::new(false, &[fault_with_mark(&mark)]);
    std::fs::set_permissions(&left.ledger, std::fs::Permissions::from_mode(0o622)).expect("set");
    let said = refused(&left);
    assert!(said.contains("other users may write to") && said.contains("mode 622"), "{said}");
    assert!(!mark.exists());
    std::fs::remove_file(&left.ledger).expect("it was there");
    assert!(Command::new("mkfifo").arg(&left.ledger).status().expect("it runs").success());
    let output = left.recover().output().expect("it does not wait for a writer");
    assert_eq!(output.status.code(), Some(3));
    assert!(self::said(&output).contains("it is no regular file"), "{}", self::said(&output));
}
