//! Fails if Ctrl-C or kill -9 leaves something running or loses measurements.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stack::{docker_answers, postgres_image, redis_image};
use crate::support::{command, completed_run, eventually, root};

/// Starts the short scenario and waits until Redis is frozen. Returns the run and its token.
fn start_and_freeze(reports: &std::path::Path, provider: &str) -> (Child, String) {
    let sets = [format!("stack.redis.provider={provider:?}"), format!("stack.postgres.provider={provider:?}")];
    let mut command = command(&root().join("tests/scenarios/defects-frozen.toml"), &sets, reports);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if provider == "container" {
        command.env("CACHEPROOF_REDIS_IMAGE", redis_image());
        command.env("CACHEPROOF_POSTGRES_IMAGE", postgres_image());
    }
    let mut child = command.spawn().expect("the program runs");
    wait_until_it_says(&mut child, "fault 'pause redis' injected");
    let token = token_of(child.id());
    (child, token)
}

/// Waits until the program has printed something to its standard error.
fn wait_until_it_says(child: &mut Child, words: &str) {
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
    while !said.contains(words) {
        let read = lines.read_line(&mut said).expect("it prints something");
        assert!(read > 0, "it ended before it said '{words}': {said}");
    }
    // The pipe must stay open, or the program ends at its next line.
    std::thread::spawn(move || lines.lines().for_each(drop));
}

/// The run's token, from the arguments of its child process `cacheproof guard TOKEN`.
pub fn token_of(run: u32) -> String {
    processes()
        .filter_map(|(pid, path)| {
            let stat = std::fs::read_to_string(path.join("stat")).ok()?;
            let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            let words = std::fs::read_to_string(path.join("cmdline")).ok()?;
            let mut words = words.split('\0').skip(1);
            (parent == run && words.next() == Some("guard"))
                .then(|| words.next().map(str::to_owned))?
                .filter(|_| pid > 0)
        })
        .next()
        .expect("the run has a guard")
}

/// The pid and /proc directory of every process.
fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    std::fs::read_dir("/proc")
        .expect("there is /proc")
        .filter_map(|entry| Some((entry.as_ref().ok()?.file_name().to_str()?.parse().ok()?, entry.ok()?.path())))
}

/// The processes of the run with this token, by their arguments, environment or directory. The guard is one of them.
fn processes_of_run(token: &str) -> Vec<String> {
    processes()
        .filter_map(|(pid, path)| {
            let has = |bytes: &[u8]| bytes.windows(token.len()).any(|word| word == token.as_bytes());
            let words = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let inside = std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| has(cwd.as_os_str().as_bytes()));
            let belongs_to_run =
                inside || has(&words) || std::fs::read(path.join("environ")).is_ok_and(|text| has(&text));
            // A zombie process has no command line.
            (belongs_to_run && !words.is_empty())
                .then(|| format!("{pid} {}", String::from_utf8_lossy(&words).replace('\0', " ")))
        })
        .collect()
}

fn directories(token: &str) -> Vec<String> {
    std::fs::read_dir(std::env::temp_dir())
        .expect("it reads")
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(token))
        .collect()
}

fn containers(token: &str) -> String {
    let output = std::process::Command::new("docker")
        .args(["ps", "--all", "--quiet", "--filter", &format!("label=cacheproof.run={token}")])
        .output()
        .expect("docker is there");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How long the clean-up after a killed run may take. The tests with this limit run alone (.config/nextest.toml); on a
/// quiet machine it takes less than a second.
pub const CLEANUP_LIMIT: Duration = Duration::from_secs(5);

pub fn assert_nothing_left(token: &str) {
    let start = Instant::now();
    loop {
        let mut left = processes_of_run(token);
        left.extend(directories(token));
        if left.is_empty() {
            break;
        }
        assert!(start.elapsed() < CLEANUP_LIMIT, "still there after {CLEANUP_LIMIT:?}: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ctrl_c_while_redis_is_frozen_leaves_nothing_behind_and_writes_the_report() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let (child, token) = start_and_freeze(reports.path(), "local");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let completed_run = completed_run(child.wait_with_output().expect("it ends"), reports);
    assert_eq!(completed_run.code, Some(130), "{}", completed_run.said());
    assert!(completed_run.measurements().count(|_| true) > 100, "{}", completed_run.said());
    let report = std::fs::read_to_string(completed_run.directory().join("report.md")).expect("there is a report");
    assert!(report.contains("incomplete"), "{report}");
    assert_nothing_left(&token);
}

/// Whether an app answers, and how many requests wait for an answer.
#[derive(Default)]
struct Hang {
    hangs: AtomicBool,
    waiting: AtomicUsize,
}

/// An app that answers every request, and none any more once it hangs.
fn app_that_may_hang(hang: &Arc<Hang>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let hang = Arc::clone(hang);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let hang = Arc::clone(&hang);
            std::thread::spawn(move || {
                let lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
                for _end_of_request in lines.map_while(Result::ok).filter(String::is_empty) {
                    if hang.hangs.load(Ordering::SeqCst) {
                        hang.waiting.fetch_add(1, Ordering::SeqCst);
                        loop {
                            std::thread::park();
                        }
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Runs a phase of an hour with this traffic against [`app_that_may_hang`], and presses Ctrl-C when `ready` says so. The
/// test runner ends a test that hangs.
fn interrupted_run(traffic: &str, hang: &Arc<Hang>, ready: impl FnOnce()) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("hour.toml");
    let address = app_that_may_hang(hang);
    let text = format!(
        "title = 'An hour'\n[target]\nkind = 'http'\nurl = 'http://{address}'\n[traffic]\n{traffic}\n\
         [[traffic.request]]\nname = 'read'\nget = '/'\n[[phase]]\nname = 'long'\nlasts = '1h'\n"
    );
    std::fs::write(&file, text).expect("written");
    let reports = tempfile::tempdir().expect("a temporary directory");
    let mut command = command(&file, &[], reports.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    wait_until_it_says(&mut child, "phase 'long'");
    let token = token_of(child.id());
    ready();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let completed_run = completed_run(child.wait_with_output().expect("it ends"), reports);
    assert_eq!(completed_run.code, Some(130), "{}", completed_run.said());
    assert!(completed_run.directory().join("report.md").exists(), "{}", completed_run.said());
    assert_nothing_left(&token);
}

#[test]
fn ctrl_c_ends_a_load_that_the_machine_cannot_send() {
    interrupted_run("rate = '1_000_000/s'\nconnections = 1", &Arc::default(), || {});
}

#[test]
fn ctrl_c_does_not_wait_for_answers_that_never_come() {
    let hang = Arc::new(Hang::default());
    interrupted_run("rate = '100/s'\ntimeout = '1h'", &hang, || {
        hang.hangs.store(true, Ordering::SeqCst);
        eventually(Duration::from_secs(30), "a request waits", || hang.waiting.load(Ordering::SeqCst) > 0);
    });
}

#[test]
fn kill_9_while_redis_is_frozen_leaves_nothing_behind() {
    let reports = tempfile::tempdir().expect("a temporary directory");
    let (mut child, token) = start_and_freeze(reports.path(), "local");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("it runs");
    let _status = child.wait().expect("it ends");
    assert_nothing_left(&token);
}

#[test]
fn kill_9_while_a_container_is_paused_leaves_no_container() {
    if !docker_answers() {
        return;
    }
    let reports = tempfile::tempdir().expect("a temporary directory");
    let (mut child, token) = start_and_freeze(reports.path(), "container");
    assert!(!containers(&token).is_empty(), "the run's containers carry its label");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("it runs");
    let _status = child.wait().expect("it ends");
    assert_nothing_left(&token);
    eventually(CLEANUP_LIMIT, "no container is left", || containers(&token).is_empty());
}
