//! What cacheproof tells its guard process through the pipe, one line a message.

use std::path::PathBuf;

use crate::addresses::Addresses;
use crate::process::Process;
use crate::undo::Undo;

/// What cacheproof tells its guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GuardMessage {
    /// A process to kill.
    Process(Process),
    /// A command of the user that injects a fault: to be killed before the fault is undone.
    Command(Process),
    /// Containers are about to be created: the clean-up has to look for the run's label.
    Containers,
    /// A container to remove.
    Container(String),
    /// The run's undo ledger.
    Ledger(PathBuf),
    /// The variables for the user's commands. Kept in memory only, because they hold passwords.
    Addresses(Addresses),
    /// A fault is about to be injected: its number, and how it is undone.
    Undo(u64, Undo),
    /// It was undone.
    Undone(u64),
    /// The run has ended in order: every server is down already.
    Release,
}

impl GuardMessage {
    pub(crate) fn to_line(&self) -> String {
        match self {
            Self::Process(process) => format!("process {} {}\n", process.pid, process.started),
            Self::Command(process) => format!("command {} {}\n", process.pid, process.started),
            Self::Containers => "containers\n".into(),
            Self::Container(id) => format!("container {id}\n"),
            Self::Ledger(path) => format!("ledger {}\n", json(path)),
            Self::Addresses(addresses) => format!("addresses {}\n", json(addresses)),
            Self::Undo(id, undo) => format!("undo {id} {}\n", json(undo)),
            Self::Undone(id) => format!("undone {id}\n"),
            Self::Release => "release\n".into(),
        }
    }

    /// `None` for a line that is not a message, or that was cut off because its writer crashed.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\n')?;
        if let Some(path) = line.strip_prefix("ledger ") {
            return serde_json::from_str(path).ok().map(Self::Ledger);
        }
        if let Some(addresses) = line.strip_prefix("addresses ") {
            return serde_json::from_str(addresses).ok().map(Self::Addresses);
        }
        if let Some((id, undo)) = line.strip_prefix("undo ").and_then(|undo| undo.split_once(' ')) {
            return Some(Self::Undo(id.parse().ok()?, serde_json::from_str(undo).ok()?));
        }
        let mut words = line.split(' ');
        match (words.next()?, words.next(), words.next()) {
            (what @ ("process" | "command"), Some(pid), Some(started)) => {
                let process = Process { pid: pid.parse().ok()?, started: started.into() };
                Some(if what == "command" { Self::Command(process) } else { Self::Process(process) })
            }
            ("containers", None, None) => Some(Self::Containers),
            ("container", Some(id), None) => Some(Self::Container(id.into())),
            ("undone", Some(id), None) => Some(Self::Undone(id.parse().ok()?)),
            ("release", None, None) => Some(Self::Release),
            _ => None,
        }
    }
}

/// JSON has no line breaks inside a value, so a message stays one line.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_pipe_and_a_partial_line_is_no_message() {
        let process = Process { pid: 4711, started: "815".into() };
        let undo = Undo::Command { run: "a\nb c".into(), directory: "/a b".into() };
        for message in [
            GuardMessage::Command(process.clone()),
            GuardMessage::Process(process),
            GuardMessage::Containers,
            GuardMessage::Container("abc".into()),
            GuardMessage::Ledger("/a b/c".into()),
            GuardMessage::Addresses(serde_json::from_str(r#"[["CACHEPROOF_REDIS_URL","redis://a b"]]"#).unwrap()),
            GuardMessage::Undo(7, undo),
            GuardMessage::Undone(7),
            GuardMessage::Release,
        ] {
            let line = message.to_line();
            assert_eq!(GuardMessage::parse(&line).as_ref(), Some(&message));
            assert_eq!(GuardMessage::parse(line.trim_end()), None);
        }
        assert_eq!(GuardMessage::parse("process 1\n"), None);
        assert_eq!(GuardMessage::parse("release now\n"), None);
    }
}
