//! What a ledger says, and which of its lines can't be read. A line that can't be read is no line that is empty: it may have been a
//! fault.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

use super::{LedgerEntry, LedgerLine, identity};
use crate::machine::Machine;
use crate::process::Process;
use crate::undo::Undo;

/// How much of a line is shown that can't be read.
const SHOWN: usize = 60;

/// A fault that was not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFault {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub what: String,
    /// How it is undone.
    pub undo: Undo,
}

/// A run, from its ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRun {
    /// Marks its processes, containers and directory.
    pub token: String,
    /// Its temporary directory.
    pub directory: PathBuf,
    /// Where it ran; `None` in a ledger of a cacheproof that did not write it.
    pub machine: Option<Machine>,
    /// Whether it started containers.
    pub containers: bool,
    /// The processes that it started: servers and instances of the app.
    pub processes: Vec<Process>,
}

/// A line that can't be read, or lines that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableLine {
    /// Its number, counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub why: String,
}

/// The state of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// The run; `None` when its line is missing.
    pub run: Option<LedgerRun>,
    /// The faults that were not closed, in the order in which they were opened.
    pub open: Vec<OpenFault>,
    /// Whether its last line was written: nothing of the run is left.
    pub over: bool,
    /// Whether the cacheproof that wrote it still runs.
    pub alive: bool,
    /// What can't be read. Such a ledger is never taken for one without faults.
    pub unreadable: Vec<UnreadableLine>,
}

impl LedgerState {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut reader = Reader::default();
        let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let number = index + 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<LedgerLine>(line) {
                Ok(line) => reader.add(number, line.entry),
                Err(error) => {
                    let is_cut = lines.peek().is_none();
                    reader.refuse(number, explain(line, is_cut, &error));
                }
            }
        }
        let mut state = reader.state;
        if bytes.trim_ascii().is_empty() {
            state.unreadable.push(UnreadableLine { number: 1, why: "it is missing: the file is empty".into() });
        }
        state
    }
}

#[derive(Default)]
struct Reader {
    state: LedgerState,
    /// Every fault that was opened, by its number.
    opened: HashMap<u64, OpenFault>,
    /// The largest number of a fault.
    last: u64,
}

impl Reader {
    fn refuse(&mut self, number: usize, why: String) {
        self.state.unreadable.push(UnreadableLine { number, why });
        self.state.over = false;
    }

    fn add(&mut self, number: usize, entry: LedgerEntry) {
        match entry {
            LedgerEntry::Run { token, directory, pid, started, containers, machine } => {
                let run = LedgerRun { token, directory, machine, containers, processes: Vec::new() };
                match &self.state.run {
                    None => {
                        self.state.alive = is_alive(pid, &started, run.machine.as_ref());
                        self.state.run = Some(run);
                    }
                    Some(first) if (&first.token, &first.directory) == (&run.token, &run.directory) => {}
                    Some(_) => self.refuse(number, "it names a second run".into()),
                }
            }
            LedgerEntry::Containers => self.with_run(number, |run| run.containers = true),
            LedgerEntry::Process { pid, started } => {
                self.with_run(number, |run| run.processes.push(Process { pid, started }));
            }
            LedgerEntry::Open { id, what, undo } => {
                self.state.over = false;
                self.needs_run(number);
                if id.saturating_sub(self.last) > 1 {
                    let missing = match (self.last + 1, id - 1) {
                        (one, other) if one == other => format!("fault {one} is"),
                        (first, last) => format!("the faults {first} to {last} are"),
                    };
                    self.refuse(number, format!("{missing} missing before it"));
                }
                self.last = self.last.max(id);
                let fault = OpenFault { id, what, undo };
                // The same line twice is one fault.
                if self.opened.insert(id, fault.clone()).as_ref() != Some(&fault) {
                    self.state.open.push(fault);
                }
            }
            LedgerEntry::Injected { .. } => self.needs_run(number),
            LedgerEntry::Closed { id, .. } => {
                self.needs_run(number);
                self.state.open.retain(|open| open.id != id);
            }
            LedgerEntry::Over => {
                self.needs_run(number);
                self.state.over = true;
            }
        }
    }

    /// A line that says nothing without the first one.
    fn needs_run(&mut self, number: usize) {
        self.with_run(number, |_| ());
    }

    fn with_run(&mut self, number: usize, change: impl FnOnce(&mut LedgerRun)) {
        match &mut self.state.run {
            Some(run) => change(run),
            None => self.refuse(number, "no line before it says whose run this is".into()),
        }
    }
}

fn is_alive(pid: u32, started: &str, machine: Option<&Machine>) -> bool {
    let here = machine.is_none_or(|machine| *machine == Machine::here());
    here && Process::find(pid).is_some() && identity(pid) == started
}

/// Why a line can't be read, with what is known of it.
fn explain(line: &[u8], is_last: bool, error: &serde_json::Error) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return match std::str::from_utf8(line) {
            _ if is_last && line.starts_with(b"{") => {
                format!("it was cut short: {}", shown(&String::from_utf8_lossy(line)))
            }
            Err(_) => "it is no text".into(),
            Ok(text) if text.contains('\0') => "it is no text".into(),
            Ok(text) => format!("it is no JSON: {}", shown(text)),
        };
    };
    let entry = match &value["entry"] {
        Value::Object(entry) if entry.len() == 1 => entry.iter().next().map(|(kind, of)| (kind.as_str(), of)),
        Value::String(kind) => Some((kind.as_str(), &Value::Null)),
        _ => None,
    };
    match entry {
        Some(("open", fault)) => {
            let what = fault["what"].as_str().unwrap_or("without a name");
            format!(
                "the fault '{}' has an undo that is not known here: {}",
                shown(what),
                shown(&fault["undo"].to_string())
            )
        }
        Some((kind, _)) if !["run", "process", "injected", "closed", "containers", "over"].contains(&kind) => {
            format!("it has an entry that is not known here, '{}': a newer cacheproof may have written it", shown(kind))
        }
        Some((kind, _)) => format!("its entry '{kind}' is not as cacheproof writes it ({error})"),
        None => format!("it is no line of a ledger: {}", shown(&String::from_utf8_lossy(line))),
    }
}

/// The beginning of a text from a file, without control characters and passwords.
pub(crate) fn shown(text: &str) -> String {
    let text = cacheproof_core::secrets::mask_command(text);
    let short: String = text.chars().take(SHOWN).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", short.chars().map(|letter| if letter.is_control() { '·' } else { letter }).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str =
        r#"{"at":1,"entry":{"run":{"token":"ab12","directory":"/tmp/cacheproof-ab12","pid":1,"started":"x"}}}"#;
    const OPEN: &str = r#"{"at":1,"entry":{"open":{"id":1,"what":"pause redis","undo":"nothing"}}}"#;
    const OVER: &str = r#"{"at":9,"entry":"over"}"#;

    fn of(lines: &[&str]) -> LedgerState {
        LedgerState::parse((lines.join("\n") + "\n").as_bytes())
    }

    fn why(bytes: &[u8]) -> Vec<(usize, String)> {
        LedgerState::parse(bytes).unreadable.into_iter().map(|line| (line.number, line.why)).collect()
    }

    #[test]
    fn a_whole_ledger_has_nothing_unreadable() {
        for lines in [&[RUN][..], &[RUN, OPEN], &[RUN, "", OPEN, OVER], &[RUN, RUN, OPEN, OPEN]] {
            assert_eq!(of(lines).unreadable, [], "{lines:?}");
        }
        assert_eq!(of(&[RUN, OPEN, OPEN]).open.len(), 1, "the same line twice is one fault");
        assert!(of(&[RUN, OPEN, OVER]).over);
        assert!(LedgerState::parse(format!("{RUN}\n{OVER}").as_bytes()).over, "without the last line break");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_never_taken_for_none() {
        assert_eq!(why(b""), [(1, "it is missing: the file is empty".into())]);
        assert_eq!(why(b"\n \n").len(), 1);
        let cut = format!("{RUN}\n{}", &OPEN[..OPEN.len() - 4]);
        assert!(why(cut.as_bytes())[0].1.starts_with("it was cut short: {\"at\":1"), "{:?}", why(cut.as_bytes()));
        let middle = format!("{RUN}\n{}\n{OVER}\n", &OPEN[..20]);
        assert!(why(middle.as_bytes())[0].1.starts_with("it is no JSON"), "{:?}", why(middle.as_bytes()));
        assert_eq!(why(format!("{RUN}\n\0\0\0\0").as_bytes()), [(2, "it is no text".into())]);
        assert_eq!(why(b"\xff\xfe{}\n"), [(1, "it is no text".into())]);
    }

    #[test]
    fn what_a_newer_version_wrote_is_named() {
        let undo = OPEN.replace("\"nothing\"", "{\"explode\":7}");
        let [(2, text)] = &why(format!("{RUN}\n{undo}\n").as_bytes())[..] else { panic!() };
        assert_eq!(text, "the fault 'pause redis' has an undo that is not known here: {\"explode\":7}");
        let [(2, text)] = &why(format!("{RUN}\n{{\"at\":1,\"entry\":{{\"froz\\u001ben\":{{}}}}}}\n").as_bytes())[..]
        else {
            panic!()
        };
        assert!(text.contains("not known here, 'froz·en'"), "{text}");
        let negative = RUN.replace("\"pid\":1", "\"pid\":-1");
        assert!(why(negative.as_bytes())[0].1.starts_with("its entry 'run' is not as cacheproof writes it"));
        assert!(why(b"{\"a\":1}\n[1]\n\"over\"\n").iter().all(|(_, why)| why.starts_with("it is no line of a ledger")));
    }

    #[test]
    fn over_holds_only_when_it_is_the_last_word() {
        let torn = [RUN, &OPEN[..20], OVER];
        assert!(of(&torn).over, "who wrote it knew what was before it");
        assert!(!of(&[RUN, OVER, OPEN]).over);
        assert!(!of(&[RUN, OVER, "x"]).over);
    }

    #[test]
    fn faults_that_are_missing_and_a_second_run_are_told() {
        let third = OPEN.replace("\"id\":1", "\"id\":3");
        assert_eq!(of(&[RUN, OPEN, &third]).unreadable[0].why, "fault 2 is missing before it");
        let huge = OPEN.replace("\"id\":1", &format!("\"id\":{}", u64::MAX));
        assert_eq!(of(&[RUN, &huge, &huge]).unreadable.len(), 1);
        let other = RUN.replace("ab12", "cd34");
        assert_eq!(of(&[RUN, &other]).unreadable[0].why, "it names a second run");
        assert_eq!(of(&[RUN, &other]).run.map(|run| run.token), Some("ab12".into()));
        assert_eq!(of(&[r#"{"at":1,"entry":"containers"}"#, RUN]).unreadable.len(), 1);
    }

    #[test]
    fn a_second_fault_with_the_number_of_the_first_is_undone_too() {
        let other = OPEN.replace("pause redis", "kill redis");
        assert_eq!(of(&[RUN, OPEN, &other]).open.len(), 2);
    }

    #[test]
    fn thousands_of_entries_are_read() {
        let mut text = format!("{RUN}\n");
        for id in 1..=20_000 {
            text += &(OPEN.replace("\"id\":1", &format!("\"id\":{id}")) + "\n");
        }
        let state = LedgerState::parse(text.as_bytes());
        assert_eq!((state.open.len(), state.unreadable.len()), (20_000, 0));
    }

    #[test]
    fn no_process_of_a_ledger_is_this_one() {
        let ours = RUN.replace("\"pid\":1", &format!("\"pid\":{}", std::process::id()));
        assert!(!of(&[&ours]).alive, "it was started at another time");
    }
}
