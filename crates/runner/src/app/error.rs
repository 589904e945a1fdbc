//! Why an app cannot be tested.

use std::path::PathBuf;
use std::time::Duration;

use cacheproof_core::journal::NotSentReason;

/// Why an app cannot be tested. Each says what to do about it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum TargetError {
    /// The program does not exist or cannot be run.
    #[error("can't start the app: {program}: {source}")]
    #[diagnostic(help("check target.start in the scenario; its first word must be a program on PATH or a path"))]
    Spawn {
        /// First word of the command.
        program: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// Its log could not be created.
    #[error("can't write the app's log {path}: {source}")]
    #[diagnostic(help("the temporary directory must be writable and have free space; set TMPDIR to use another one"))]
    Log {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("the app ended before it was ready ({status}); its last lines:\n{log}")]
    #[diagnostic(help("run the command by hand to see what is wrong: {command}"))]
    EndedEarly {
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
        /// The command, without secrets.
        command: String,
    },
    /// It does not answer.
    #[error("{url} gave no 2xx answer within {waited:?}; the last attempt: {last}")]
    #[diagnostic(help("is the app running there, and is target.ready a path that it answers with 2xx?"))]
    NotReady {
        /// The URL of the ready path.
        url: String,
        /// The timeout.
        waited: Duration,
        /// The result of the last attempt.
        last: String,
    },
    /// The URL is invalid.
    #[error("target.url is not an HTTP URL: {url}")]
    #[diagnostic(help("write it as http://127.0.0.1:8080"))]
    BadUrl {
        /// As given.
        url: String,
    },
    /// cacheproof itself could not send a request.
    #[error("no request can be sent to the app: {}", reason.as_str())]
    #[diagnostic(help("{}", reason.help()))]
    NotSent {
        /// Why not.
        reason: NotSentReason,
    },
    /// The preflight shows that the scenario does not fit the app.
    #[error("{request} doesn't fit the scenario: {problem}")]
    #[diagnostic(help("{help}"))]
    Unfit {
        /// The request line.
        request: String,
        /// What does not fit.
        problem: String,
        /// What to change.
        help: String,
    },
    /// There is no free port.
    #[error("no free port on 127.0.0.1 for the app: {source}")]
    #[diagnostic(help("this machine has too many open sockets; close some and try again"))]
    NoPort {
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A fault could not be injected or undone.
    #[error("can't {what} the app: {why}")]
    Fault {
        /// `kill`, `pause`…
        what: &'static str,
        /// Why not.
        why: String,
    },
}
