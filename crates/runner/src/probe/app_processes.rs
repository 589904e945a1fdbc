//! What the app uses with all its processes: a shell or a supervisor in front of it, workers, daemons.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use cacheproof_core::journal::ProcessSample;
use cacheproof_supervise::{Relatives, all_processes, has_environment, with_descendants_and_groups};

/// Reading a process's memory may take at most this share of the time: for a large one it takes some milliseconds, in which that
/// process may have to wait.
const MAX_MEMORY_SHARE: u32 = 20;

/// One instance of the app, as cacheproof started it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppRoot {
    /// Its first process.
    pub pid: u32,
    /// What every process of this instance has in its environment, unless it changed that.
    pub marks: Vec<(String, String)>,
    /// The ports of this machine on which it should listen: the first on which anything does counts.
    pub ports: Vec<u16>,
}

/// Samples the processes of the app. Remembers what costs time to find out.
#[derive(Debug, Default)]
pub(super) struct AppProcesses {
    /// Processes, by number and start, that have the marks in their environment or not.
    marked: HashMap<(u32, u64), bool>,
    /// Their memory.
    memory: HashMap<(u32, u64), MemoryReading>,
    /// First processes whose instance was seen to listen on the app's port.
    confirmed: HashSet<u32>,
}

#[derive(Clone, Copy, Debug)]
struct MemoryReading {
    bytes: u64,
    at: Instant,
    took: Duration,
}

impl AppProcesses {
    /// The sum over the instances that run. `None` when none does, or when what answers on the app's port is not among the processes
    /// that cacheproof started, such as a container.
    pub(super) fn sample(&mut self, roots: &[AppRoot]) -> Option<ProcessSample> {
        let all = all_processes();
        let alive: HashSet<(u32, u64)> = all.iter().map(|process| (process.pid, process.started)).collect();
        self.marked.retain(|process, _| alive.contains(process));
        self.memory.retain(|process, _| alive.contains(process));
        let mut sum: Option<ProcessSample> = None;
        for root in roots {
            let members = self.members(&all, root);
            if !self.listens(root, &members) {
                return None;
            }
            for process in members {
                if let Some(sample) = self.process_sample(process) {
                    sum = Some(sum.map_or_else(|| sample.clone(), |sum| sum.combine(sample.clone())));
                }
            }
        }
        sum
    }

    /// Descendants of its first process, the process groups that they lead, and what has its marks: a daemon keeps them when it leaves
    /// its parent and its group.
    fn members<'all>(&mut self, all: &'all [Relatives], root: &AppRoot) -> Vec<&'all Relatives> {
        let marks: Vec<(&str, &str)> = root.marks.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut marked = HashSet::from([root.pid]);
        for process in all.iter().filter(|_| !marks.is_empty()) {
            let key = (process.pid, process.started);
            if *self.marked.entry(key).or_insert_with(|| has_environment(process.pid, &marks[..1]))
                && has_environment(process.pid, &marks)
            {
                marked.insert(process.pid);
            }
        }
        let members: HashSet<u32> = with_descendants_and_groups(all, |pid| marked.contains(&pid)).into_iter().collect();
        all.iter().filter(|process| members.contains(&process.pid)).collect()
    }

    /// Whether what listens on the app's port is one of these processes; also true where that can't be told.
    fn listens(&mut self, root: &AppRoot, members: &[&Relatives]) -> bool {
        if members.is_empty() || self.confirmed.contains(&root.pid) {
            return true;
        }
        let listeners = root.ports.iter().map(|port| listening_sockets(*port)).find(|sockets| !sockets.is_empty());
        let Some(listeners) = listeners else { return true };
        let is_among = |process: &&Relatives| holds_a_socket(process.pid, &listeners).unwrap_or(true);
        if !members.iter().any(is_among) {
            return false;
        }
        self.confirmed.insert(root.pid);
        true
    }

    fn process_sample(&mut self, process: &Relatives) -> Option<ProcessSample> {
        let sample = super::process_sample(process.pid)?;
        let known = self.memory.get(&(process.pid, process.started));
        let memory = match known.filter(|known| known.at.elapsed() < known.took * MAX_MEMORY_SHARE) {
            Some(known) => known.bytes,
            None => {
                let at = Instant::now();
                match proportional_memory(process.pid) {
                    Some(bytes) => {
                        let reading = MemoryReading { bytes, at, took: at.elapsed() };
                        self.memory.insert((process.pid, process.started), reading);
                        bytes
                    }
                    None => sample.memory,
                }
            }
        };
        Some(ProcessSample { memory, ..sample })
    }
}

/// The memory of a process in which each page counts by how many processes share it (PSS), with what is swapped out. `None` where the
/// system does not tell it, or not to this user.
fn proportional_memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some((kib("Pss")? + kib("SwapPss").unwrap_or(0)) * 1024)
}

/// The sockets of this machine that listen on a port, by their inode.
fn listening_sockets(port: u16) -> HashSet<u64> {
    let read = |path: &str| std::fs::read_to_string(Path::new("/proc/self/net").join(path)).unwrap_or_default();
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|table| read(table).lines().filter_map(|line| listener(line, port)).collect::<Vec<_>>())
        .collect()
}

/// The inode in a line of /proc/net/tcp, if it is a socket that listens on this port.
fn listener(line: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
    fields.get(9).filter(|_| is_it)?.parse().ok()
}

/// Whether a process has one of these sockets. `None` where this user may not see that.
fn holds_a_socket(pid: u32, sockets: &HashSet<u64>) -> Option<bool> {
    let inode = |entry: std::fs::DirEntry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(entries.flatten().filter_map(inode).any(|inode| sockets.contains(&inode)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use cacheproof_supervise::kill_by_environment;

    use super::*;

    /// An app of several processes; they are ended with it.
    struct TestApp {
        child: Child,
        root: AppRoot,
    }

    impl TestApp {
        fn start(script: &str) -> Self {
            let token = format!("{:032x}", rand::random::<u128>());
            let mut command = Command::new("sh");
            command.args(["-c", script]).env("TEST_RUN", &token).env("TEST_PORT", "1").process_group(0);
            let child =
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            let marks = vec![("TEST_RUN".into(), token), ("TEST_PORT".into(), "1".into())];
            let root = AppRoot { pid: child.id(), marks, ports: Vec::new() };
            Self { child, root }
        }

        fn sample(&self) -> Option<ProcessSample> {
            AppProcesses::default().sample(std::slice::from_ref(&self.root))
        }

        /// Waits until it uses so much.
        fn wait_for(&self, what: &str, reached: impl Fn(&ProcessSample) -> bool) {
            let begun = Instant::now();
            while !self.sample().is_some_and(|sample| reached(&sample)) {
                assert!(begun.elapsed() < Duration::from_secs(50), "still not: {what}; {:?}", self.sample());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    impl Drop for TestApp {
        fn drop(&mut self) {
            kill_by_environment(&[("TEST_RUN", &self.root.marks[0].1)]);
            let _ended = cacheproof_supervise::signal_group(self.child.id(), nix::sys::signal::Signal::SIGKILL);
            let _reaped = self.child.wait();
        }
    }

    /// A pipeline whose last process holds 60 MB.
    const HOLD: &str = "(head -c 60000000 /dev/zero; sleep 600) | tail -c 60000000";

    const HELD: u64 = 60_000_000;

    #[test]
    fn the_memory_of_the_app_is_that_of_all_its_processes() {
        for script in [
            format!("{HOLD}; true"),
            format!("{HOLD} & wait"),
            // In a session of its own, without its parent.
            format!("(setsid sh -c '{HOLD}' &) ; sleep 600; true"),
            // Without its marks.
            format!("env -i PATH=$PATH sh -c '{HOLD}'; true"),
            format!("env -i PATH=$PATH setsid sh -c '{HOLD}' & wait"),
        ] {
            let app = TestApp::start(&script);
            app.wait_for(&script, |sample| sample.memory > HELD);
        }
    }

    #[test]
    fn pages_that_workers_share_count_once() {
        // Four copies of a shell that holds 30 MB.
        let fork = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); for i in 1 2 3 4; do (sleep 600; true) & done; sleep 600; true";
        let app = TestApp::start(fork);
        app.wait_for("ten processes", |sample| sample.files.is_some_and(|files| files >= 30));
        let memory = app.sample().unwrap().memory;
        assert!((30_000_000..110_000_000).contains(&memory), "{memory} for 30 MB that five processes share");
    }

    #[test]
    fn the_sum_follows_workers_that_come_and_go() {
        let script =
            "while true; do (head -c 60000000 /dev/zero; sleep 1) | tail -c 60000000 > /dev/null; sleep 1; done";
        let app = TestApp::start(script);
        let mut processes = AppProcesses::default();
        let mut seen = |more: bool| {
            let begun = Instant::now();
            while processes.sample(std::slice::from_ref(&app.root)).is_none_or(|sample| (sample.memory > HELD) != more)
            {
                assert!(begun.elapsed() < Duration::from_secs(50), "more: {more}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        seen(true);
        seen(false);
        seen(true);
        assert!(processes.memory.len() < 10, "those that have ended are forgotten");
    }

    #[test]
    fn an_app_whose_port_belongs_to_another_process_is_unknown() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut app = TestApp::start("sleep 600; true");
        app.wait_for("it runs", |_| true);
        app.root.ports = vec![1];
        assert!(app.sample().is_some(), "nothing listens on port 1");
        app.root.ports = vec![1, listener.local_addr().unwrap().port()];
        assert_eq!(app.sample(), None, "this process listens there, and it is not the app");
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0";
        assert_eq!((listener(line, 8080), listener(line, 8081)), (Some(4242), None));
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), 8080), None, "a connection is no listener");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = listening_sockets(listener.local_addr().unwrap().port());
        assert_eq!(holds_a_socket(std::process::id(), &sockets), Some(true), "{sockets:?}");
    }

    #[test]
    fn an_app_that_has_ended_has_no_memory() {
        let mut app = TestApp::start("true");
        app.child.wait().unwrap();
        assert_eq!(app.sample(), None);
    }
}
