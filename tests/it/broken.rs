//! Fails if a fault stays active after cacheproof was killed; if a fault is injected into a system that is not steady; or
//! if a run continues after `[safety]` should have aborted it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cacheproof::journal::{FaultStage, RunStatus};
use cacheproof::supervise::{LEDGER_FILE, read_ledger};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::interrupt::{CLEANUP_LIMIT, assert_nothing_left, token_of};
use crate::stack::{docker_answers, redis_image};
use crate::support::{CACHEPROOF, command, eventually, root, run_scenario};

/// A run with an active fault.
struct Run {
    child: Child,
    token: String,
    reports: TempDir,
}

impl Run {
    /// Starts the scenario with this fault and waits until the journal says that it was injected.
    fn with(fault: &str, sets: &[&str]) -> Self {
        Self::when(fault, sets, "the fault is injected", |run| {
            let journal = std::fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
            journal.contains("\"stage\":\"injected\"")
        })
    }

    /// Starts it and waits until the run's directory is `ready`.
    fn when(fault: &str, sets: &[&str], what: &str, ready: impl Fn(&Path) -> bool) -> Self {
        let reports = tempfile::tempdir().expect("a temporary directory");
        let mut all = vec![format!("phase.broken.fault={fault}")];
        all.extend(sets.iter().map(|set| (*set).to_owned()));
        let mut command = command(&scenario(), &all, reports.path());
        let said = std::fs::File::create(reports.path().join("said")).expect("it can be written");
        let mut child = command.stdout(Stdio::null()).stderr(said).spawn().expect("the program runs");
        let path = reports.path().to_owned();
        eventually(Duration::from_secs(120), what, || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("it ended ({status}): {}", std::fs::read_to_string(path.join("said")).unwrap_or_default());
            }
            run_directory(&path).is_some_and(|run| ready(&run))
        });
        let token = token_of(child.id());
        Self { child, token, reports }
    }

    fn ledger(&self) -> PathBuf {
        run_directory(self.reports.path()).expect("the run has a directory").join(LEDGER_FILE)
    }

    fn kill_9(&mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL).expect("it runs");
        let _status = self.child.wait().expect("it ends");
    }
}

fn scenario() -> PathBuf {
    root().join("tests/scenarios/broken.toml")
}

fn run_directory(reports: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(reports).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.is_dir() && !path.is_symlink())
}

/// Kills cacheproof while this fault is active: nothing is left, and the guard closes the ledger.
fn kill_9_leaves_nothing(fault: &str, sets: &[&str]) {
    let run = Run::with(fault, sets);
    let open = read_ledger(&run.ledger()).expect("it reads");
    assert_eq!((open.open.len(), open.over), (1, false), "{open:?}");
    nothing_is_left_of(run, fault);
}

fn nothing_is_left_of(mut run: Run, fault: &str) {
    run.kill_9();
    let killed = Instant::now();
    assert_nothing_left(&run.token);
    eventually(CLEANUP_LIMIT.saturating_sub(killed.elapsed()), "the guard closes the ledger", || {
        read_ledger(&run.ledger()).is_ok_and(|left| left.over && left.open.is_empty())
    });
    // Shown with `--success-output immediate`.
    println!("{fault}: nothing left {:.1} s after kill -9", killed.elapsed().as_secs_f64());
}

macro_rules! kill_9 {
    ($($name:ident: $fault:expr;)*) => {
        $(
            #[test]
            fn $name() {
                kill_9_leaves_nothing($fault, &[]);
            }
        )*
    };
}

// One of each kind of victim.
kill_9! {
    kill_9_while_redis_is_killed: "{ kill = 'redis' }";
    kill_9_while_the_app_is_paused: "{ pause = 'app' }";
    kill_9_while_redis_is_full: "{ fill_memory = 'redis' }";
    kill_9_while_a_link_is_slow: "{ latency = 'redis', delay = '50ms' }";
    kill_9_while_an_instance_is_cut_off: "{ partition = 'app' }";
}

#[test]
fn kill_9_during_a_command_fault_runs_its_undo_command() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mark, output) = (directory.path().join("broken"), directory.path().join("output"));
    // The command's background process belongs to the run, too.
    let fault = format!(
        "{{ run = 'touch {0}; sleep 1000 > /dev/null 2>&1 &', undo = 'test -n \"$CACHEPROOF_APP_URL\" && redis-cli -u $CACHEPROOF_REDIS_URL PING > {1} && rm {0}' }}",
        mark.display(),
        output.display()
    );
    let mut run = Run::with(&fault, &[]);
    assert!(mark.exists());
    run.kill_9();
    eventually(CLEANUP_LIMIT, "it is undone", || !mark.exists());
    assert_nothing_left(&run.token);
    // The run's servers were still up.
    assert_eq!(std::fs::read_to_string(&output).expect("it is written"), "PONG\n");
    assert!(read_ledger(&run.ledger()).expect("it reads").over, "nothing is left to recover");
}

#[test]
fn kill_9_while_a_users_container_is_paused_unpauses_it() {
    if !docker_answers() {
        return;
    }
    let name = format!("cacheproof-test-{}", std::process::id());
    let docker = |words: &[&str]| {
        let output = Command::new("docker").args(words).output().expect("docker is there");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let port = cacheproof::stack::free_port().expect("a port is free");
    let published = format!("127.0.0.1:{port}:6379");
    docker(&["run", "-d", "--rm", "--name", &name, "-p", &published, &redis_image(), "redis-server"]);
    let remove = scopeguard(|| drop(docker(&["rm", "-f", &name])));
    eventually(Duration::from_secs(60), "the container answers", || {
        docker(&["exec", &name, "redis-cli", "ping"]) == "PONG"
    });
    let url = format!("stack.redis={{ url = 'redis://127.0.0.1:{port}/', container = '{name}' }}");
    let mut run = Run::with("{ pause = 'redis' }", &[&url]);
    assert_eq!(docker(&["inspect", "-f", "{{.State.Paused}}", &name]), "true");
    run.kill_9();
    eventually(CLEANUP_LIMIT, "it is running again", || {
        docker(&["inspect", "-f", "{{.State.Paused}}", &name]) == "false"
    });
    assert_nothing_left(&run.token);
    drop(remove);
}

/// Does something at the end of the test, even if it fails.
fn scopeguard(work: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(work)
}

fn recover(directory: &Path) -> (Option<i32>, String) {
    let output = Command::new(CACHEPROOF).arg("recover").arg(directory).output().expect("the program runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn recover_undoes_once_what_is_left_when_the_guard_is_killed_as_well() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mark, log) = (directory.path().join("broken"), directory.path().join("log"));
    let fault = format!("{{ run = 'touch {0}', undo = 'rm {0}; echo undone >> {1}' }}", mark.display(), log.display());
    let mut run = Run::with(&fault, &[]);
    let (code, said) = recover(run.reports.path());
    assert_eq!(code, Some(0));
    assert!(said.contains("its run is still going on; nothing was undone"), "{said}");
    assert!(mark.exists(), "the faults of a running run are not undone");

    kill(Pid::from_raw(guard_of(run.child.id()).cast_signed()), Signal::SIGKILL).expect("the guard runs");
    run.kill_9();
    let (code, said) = recover(run.reports.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is undone: ran `rm "), "{said}");
    assert!(said.contains("removed what was left of the run"), "{said}");
    assert!(!mark.exists());
    assert_nothing_left(&run.token);
    let (code, said) = recover(run.reports.path());
    assert_eq!((code, said.contains("nothing is left to undo")), (Some(0), true), "{said}");
    let undone = std::fs::read_to_string(&log).expect("it was undone");
    assert_eq!(undone.lines().count(), 1, "undone once");
}

#[test]
fn recover_ends_a_run_without_faults_whose_guard_was_killed_as_well() {
    // While the servers start, and when the load has begun. The app's worker has left its process group and forgotten its marks.
    let start = format!("target.start=['sh', '-c', 'setsid sleep 600 & env -i sleep 600 & exec {CACHEPROOF} serve']");
    for ready in ["faults.ndjson", "\"phase_started\""] {
        let mut run = Run::when(
            "{ latency = 'redis', delay = '1ms', after = '50s', lasts = '5s' }",
            &["phase.broken.lasts='60s'", &start],
            ready,
            |run| {
                let journal = std::fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
                let ledger = std::fs::read_to_string(run.join(LEDGER_FILE)).unwrap_or_default();
                let started =
                    if ready == LEDGER_FILE { ledger.contains("\"process\"") } else { journal.contains(ready) };
                ledger.contains("\"run\"") && started
            },
        );
        kill(Pid::from_raw(guard_of(run.child.id()).cast_signed()), Signal::SIGKILL).expect("the guard runs");
        run.kill_9();
        let (code, said) = recover(run.reports.path());
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("removed what was left of the run"), "{said}");
        assert_nothing_left(&run.token);
        assert!(read_ledger(&run.ledger()).expect("it reads").over, "{said}");
    }
}

/// The guard process of a run: its child with the argument `guard`.
fn guard_of(run: u32) -> u32 {
    let children = std::fs::read_dir("/proc").expect("there is /proc").flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        let words = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        (parent == run && words.split('\0').nth(1) == Some("guard")).then_some(pid)
    });
    children.into_iter().next().expect("the run has a guard")
}

#[test]
fn no_fault_is_injected_into_a_system_that_is_not_steady_and_the_exit_code_is_4() {
    let steady =
        "phase=[{ name = 'before', lasts = '3s' }, { name = 'broken', lasts = '20s', fault = { kill = 'redis' } }]";
    // No answer is that fast.
    let sets = [steady.to_owned(), "safety.steady=['p95 < 1us']".to_owned()];
    let ran = run_text(&sets);
    assert_eq!(ran.code, Some(4), "{}", ran.said());
    assert!(
        ran.stderr.contains("the system was not steady, so nothing was broken: 'p95 < 1us' does not hold"),
        "{}",
        ran.said()
    );
    let measurements = ran.measurements();
    assert!(measurements.faults.is_empty(), "{:?}", measurements.faults);
    assert_eq!(measurements.end.as_ref().map(|end| end.how), Some(RunStatus::NotSteady));
    assert_eq!(ran.summary()["verdict"]["ruling"], "inconclusive");
}

/// The scenario with another timeline.
fn run_text(sets: &[String]) -> crate::support::CompletedRun {
    let text = std::fs::read_to_string(scenario()).expect("the scenario");
    let (timeline, rest): (Vec<&String>, Vec<&String>) = sets.iter().partition(|set| set.starts_with("phase="));
    let begin = text.find("[[phase]]").expect("it has a phase");
    let end = text.find("[[criterion]]").expect("it has a criterion");
    let phases: String = timeline.iter().map(|set| format!("{}\n", set.replacen("phase=", "phase = ", 1))).collect();
    // An inline array of tables must be before the first table.
    let text = format!("{phases}{}{}", &text[..begin], &text[end..]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("broken.toml");
    std::fs::write(&path, text).expect("written");
    run_scenario(&path, &rest.into_iter().cloned().collect::<Vec<_>>())
}

#[test]
fn an_aborted_run_undoes_everything_and_the_exit_code_is_4() {
    let sets = [
        "phase.broken.fault={ kill = 'app', after = '2s' }".to_owned(),
        "safety.abort=['errors > 30% for 2s']".to_owned(),
    ];
    let ran = run_scenario(&scenario(), &sets);
    assert_eq!(ran.code, Some(4), "{}", ran.said());
    let measurements = ran.measurements();
    assert!(
        measurements.faults.iter().any(|(_, event)| event.stage == FaultStage::Undone),
        "{:?}",
        measurements.faults
    );
    assert_eq!(measurements.end.as_ref().map(|end| end.how), Some(RunStatus::Aborted));
    let why = measurements.end.and_then(|end| end.why).unwrap_or_default();
    assert!(why.contains("'errors > 30% for 2s'"), "{why}");
    let ledger = read_ledger(&ran.directory().join(LEDGER_FILE)).expect("it reads");
    assert!(ledger.over && ledger.open.is_empty(), "{ledger:?}");
}

/// The other words for a fault, by the same way back: each is a run with servers of its own.
mod slow {
    use super::*;

    kill_9! {
        kill_9_while_postgres_is_stopped: "{ stop = 'postgres' }";
        kill_9_while_postgres_is_paused: "{ pause = 'postgres' }";
        kill_9_while_redis_takes_no_clients: "{ fill_clients = 'redis' }";
        kill_9_while_bandwidth_is_limited: "{ bandwidth = 'redis', rate = '64kb' }";
        kill_9_while_packets_are_sliced: "{ slice = 'redis', size = '64b', gap = '1ms' }";
        kill_9_while_a_link_refuses: "{ refuse = 'redis' }";
        kill_9_while_a_link_is_reset: "{ reset = 'redis' }";
        kill_9_while_a_link_is_half_open: "{ half_open = 'redis' }";
        kill_9_while_a_link_is_a_black_hole: "{ black_hole = 'postgres' }";
    }

    #[test]
    fn kill_9_while_a_master_of_a_cluster_is_killed() {
        kill_9_leaves_nothing("{ kill = 'redis' }", &["stack.redis.topology='cluster'"]);
    }

    #[test]
    fn kill_9_while_replication_is_blocked_for_a_failover() {
        // It takes a second and a half until they lag and the Sentinels are asked; the ledger is written before.
        let fault = "{ failover = 'redis', to = 'lagging' }";
        let run = Run::when(fault, &["stack.redis.topology='sentinel'"], "the failover begins", |run| {
            read_ledger(&run.join(LEDGER_FILE)).is_ok_and(|ledger| !ledger.open.is_empty())
        });
        let journal = std::fs::read_to_string(run.ledger().with_file_name("events.jsonl")).expect("there is a journal");
        assert!(!journal.contains("\"stage\":\"injected\""), "it is not over yet");
        nothing_is_left_of(run, fault);
    }
}
