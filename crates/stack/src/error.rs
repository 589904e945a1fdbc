//! Errors of the servers, each with what to do next.

use std::path::PathBuf;

use cacheproof_supervise::DockerError;

/// Why a server could not be started, faulted, restored or stopped.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum StackError {
    /// Docker itself.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Docker(#[from] DockerError),

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
        /// The oldest version that works.
        needed: &'static str,
    },

    /// Postgres refuses to run as root, and there is no user to run it as.
    #[error("Postgres refuses to run as root, and this system has neither a user `postgres` nor `nobody` to run it as")]
    #[diagnostic(help("add a user: `useradd --system postgres`, or start cacheproof as another user"))]
    NoUnprivilegedUser,

    /// A server did not start.
    #[error("{what} did not come up: {why}")]
    #[diagnostic(help("{help}"))]
    StartFailure {
        /// Which one.
        what: String,
        /// The reason, often from its log.
        why: String,
        /// What to do.
        help: String,
    },

    /// A file or process operation failed.
    #[error("can't {what}: {source}")]
    #[diagnostic(help("`cacheproof doctor` says what this machine lacks"))]
    System {
        /// The operation.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },

    /// No port is free.
    #[error("no free port on 127.0.0.1 for {0}: ten were tried, and each was taken by another program first")]
    #[diagnostic(help("`ss -ltn` shows which programs listen"))]
    NoPort(&'static str),

    /// DOCKER_HOST may name another machine.
    #[error(
        "DOCKER_HOST is not a unix socket, and the ports of containers on another machine can't be reached from here"
    )]
    #[diagnostic(help("unset DOCKER_HOST, or set provider = \"local\" (or \"container\") in the scenario's [stack]"))]
    RemoteDocker,

    /// An image is missing and can't be pulled.
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

    /// `auto` can use neither containers nor local processes.
    #[error("{server} can be started neither in a container nor as a local process: {container}; {local}")]
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

    /// An external server gets no faults unless the scenario allows it.
    #[error("{0} is external, and cacheproof breaks only what it started itself")]
    #[diagnostic(help(
        "use provider = \"container\" or \"local\" to run faults, name the server's container beside its url \
         (container = \"name\"), or drop the fault from the scenario"
    ))]
    External(&'static str),

    /// No container, or more than one, is what the scenario names.
    #[error("{} {named}", if *found == 0 { "Docker has no container" } else { "there is more than one container of" })]
    #[diagnostic(help("`docker ps -a` shows their names; write one of them: container = \"name\""))]
    NoSuchContainer {
        /// What the scenario names.
        named: String,
        /// How many were found.
        found: usize,
    },

    /// cacheproof may not delete the data of this server.
    #[error(
        "{0} can't be restarted without its data: cacheproof deletes only the data of a cache that it started itself"
    )]
    #[diagnostic(help("restart it with its data, or flush it"))]
    DataDeletionNotAllowed(String),

    /// The servers of a Sentinel deployment or Cluster did not find each other.
    #[error("the {topology} did not form within {waited} s: {why}")]
    #[diagnostic(help("this machine may be too busy for so many servers; `cacheproof doctor` says what it lacks"))]
    NotFormed {
        /// `Sentinel deployment` or `Cluster`.
        topology: &'static str,
        /// How long cacheproof waited, in seconds.
        waited: u64,
        /// What was still missing.
        why: String,
    },

    /// The authority or the certificates of a TLS deployment could not be made.
    #[error("can't make the certificates for TLS: {0}")]
    #[diagnostic(help("drop tls = true from [stack.redis]"))]
    Certificates(String),
}

/// Why a server did not start, as far as the caller can try again.
pub(super) enum StartFailure {
    /// Another program took the port first.
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

    /// A request that Docker answered with an error.
    pub(super) fn docker(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Docker(DockerError::Refused { what: what.into(), why: why.into() })
    }

    /// A file operation that failed.
    pub(super) fn path(verb: &str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        Self::system(format!("{verb} {}", path.into().display()))
    }
}
