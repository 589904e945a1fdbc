//! What can go wrong with the servers, in one message each, with what to do next.

use std::path::PathBuf;

use cacheproof_supervise::SuperviseError;

/// Why a server could not be brought up, broken, mended or taken down.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum StackError {
    /// The guard, or Docker itself.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Supervise(#[from] SuperviseError),

    /// A program is not installed.
    #[error("{program} is not installed: looked in {looked}")]
    #[diagnostic(help("{}", if *program == "valkey-server" {
        "install Valkey, or drop server = \"valkey\" from [stack.redis], or use provider = \"container\""
    } else {
        "install it with `sh scripts/setup.sh`, or use provider = \"container\" or \"external\""
    }))]
    NotInstalled {
        /// `redis-server`, `valkey-server` or `postgres`.
        program: &'static str,
        /// Where it was looked for.
        looked: String,
    },

    /// A program or server is too old.
    #[error("{what} is version {found}, but cacheproof needs {needed} or later")]
    #[diagnostic(help("install a newer one, or name another image or server in the scenario's [stack]"))]
    TooOld {
        /// Which one.
        what: String,
        /// Its version.
        found: String,
        /// The least that will do.
        needed: &'static str,
    },

    /// Postgres refuses to run as root and there is nobody to drop to.
    #[error("Postgres refuses to run as root, and this system has neither a user `postgres` nor `nobody` to run it as")]
    #[diagnostic(help("add a user: `useradd --system postgres`, or start cacheproof as another user"))]
    NoUnprivilegedUser,

    /// A server did not come up.
    #[error("{what} did not come up: {why}")]
    #[diagnostic(help("{help}"))]
    StartFailure {
        /// Which one.
        what: String,
        /// What it said.
        why: String,
        /// What to do.
        help: String,
    },

    /// A file or process operation failed.
    #[error("can't {what}: {source}")]
    #[diagnostic(help("`cacheproof doctor` says what this machine lacks"))]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },

    /// No port is free.
    #[error("no free port on 127.0.0.1 for {0}: ten were tried and each was taken before the server could have it")]
    #[diagnostic(help("look at what listens with `ss -ltn`"))]
    NoPort(&'static str),

    /// Docker runs on another machine, as far as can be told.
    #[error(
        "DOCKER_HOST names no unix socket, and the ports of containers on another machine can't be reached from here"
    )]
    #[diagnostic(help("unset DOCKER_HOST, or set provider = \"local\" (or \"container\") in the scenario's [stack]"))]
    RemoteDocker,

    /// An image is not there and cannot be had.
    #[error("Docker has no image {image} and can't pull it: {why}")]
    #[diagnostic(help(
        "load the image, build stand-ins with `sh scripts/offline-images.sh` and name them in {variable}, \
         or set provider = \"local\""
    ))]
    NoImage {
        /// The image.
        image: String,
        /// What Docker said.
        why: String,
        /// The environment variable that names another image.
        variable: &'static str,
    },

    /// `auto` found no way.
    #[error("no way to bring up {server}: {container}; {local}")]
    #[diagnostic(help(
        "install the server with `sh scripts/setup.sh`, or start Docker; `cacheproof doctor` says more"
    ))]
    NoProvider {
        /// `Redis` or `Postgres`.
        server: &'static str,
        /// Why not in a container.
        container: String,
        /// Why not as a local process.
        local: String,
    },

    /// An external server's URL is missing or unusable.
    #[error("{server}: {why}")]
    #[diagnostic(help("set url in [stack.{server}], for example url = \"{example}\""))]
    Url {
        /// `redis` or `postgres`.
        server: &'static str,
        /// What is wrong with it.
        why: String,
        /// How it should look.
        example: &'static str,
    },

    /// An external server is not broken without a word from the scenario.
    #[error("{0} is external, and cacheproof breaks only what it started itself")]
    #[diagnostic(help(
        "use provider = \"container\" or \"local\" to run faults, name the server's container beside its url \
         (container = \"name\"), or drop the fault from the scenario"
    ))]
    External(&'static str),

    /// A container that the scenario allows to break is not there, or not alone.
    #[error("{} {named}", if *found == 0 { "Docker has no container" } else { "there is more than one container of" })]
    #[diagnostic(help("`docker ps -a` shows their names; write one of them: container = \"name\""))]
    NoSuchContainer {
        /// What the scenario names.
        named: String,
        /// How many there are.
        found: usize,
    },

    /// Its data are not cacheproof's to delete.
    #[error("{0} can't be restarted without its data: cacheproof deletes only what a cache of its own kept")]
    #[diagnostic(help("restart it with its data, or flush it"))]
    DataDeletionNotAllowed(String),

    /// Several servers did not find each other.
    #[error("the {topology} did not form within {waited} s: {why}")]
    #[diagnostic(help("this machine may be too busy for so many servers; `cacheproof doctor` says what it lacks"))]
    NotFormed {
        /// `Sentinel deployment` or `Cluster`.
        topology: &'static str,
        /// For how long it was waited.
        waited: u64,
        /// What was still missing.
        why: String,
    },

    /// The authority or the certificates of a TLS deployment could not be made.
    #[error("can't make the certificates for TLS: {0}")]
    #[diagnostic(help("drop tls = true from [stack.redis]"))]
    Certificates(String),
}

/// Why a server did not come up.
pub(super) enum StartFailure {
    /// Somebody else got the port first.
    PortTaken,
    /// Anything else.
    Other(StackError),
}

impl StackError {
    /// A system call that failed.
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// What Docker refused.
    pub(super) fn docker(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Supervise(SuperviseError::Docker { what: what.into(), why: why.into() })
    }

    /// A file or directory that could not be made.
    pub(super) fn path(verb: &str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        Self::system(format!("{verb} {}", path.into().display()))
    }
}
