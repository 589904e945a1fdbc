//! One server, whatever its provider: its URL, its process faults, its end.

use std::time::Duration;

use tokio::sync::Mutex;

use crate::StackError;
use crate::container::ContainerServer;
use crate::local::LocalServer;
use crate::probe::{ServerKind, without_password};
use cacheproof_core::journal::ServerFacts;

/// How long [`Server::answers`] waits.
const PING_TIMEOUT: Duration = Duration::from_millis(300);

/// A fault of a process or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessFaultKind {
    /// SIGKILL. Undone by starting it again.
    Kill,
    /// An orderly shutdown: SIGTERM (Postgres: SIGINT, its fast shutdown; a container: stop). Undone by starting it again.
    Stop,
    /// SIGSTOP (a container: pause). Undone by SIGCONT.
    Pause,
}

impl ProcessFaultKind {
    /// `kill`, `stop` or `pause`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
        }
    }

    /// For messages about the server's state.
    fn past_participle(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
            Self::Pause => "paused",
        }
    }
}

/// A started server: a Redis, a Valkey, a Sentinel or a Postgres. Injecting or undoing a fault twice is no error.
pub struct Server {
    pub(super) kind: ServerKind,
    name: String,
    pub(super) url: String,
    pub(super) facts: ServerFacts,
    state: Mutex<ServerState>,
}

/// Where it runs, and which faults it has.
struct ServerState {
    backend: Backend,
    paused: bool,
    /// The fault that ended it; `None` while it should be running.
    down: Option<ProcessFaultKind>,
}

/// Where it runs.
pub(super) enum Backend {
    Local(Box<LocalServer>),
    /// In a container that cacheproof started.
    Container(Box<ContainerServer>),
    /// It was not started by cacheproof. With its container, where the scenario allows faults in it.
    External(Option<Box<ContainerServer>>),
}

impl Backend {
    pub(super) fn provider(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Container(_) => "container",
            Self::External(_) => "external",
        }
    }

    /// Stops it, if cacheproof started it.
    pub(super) async fn down(self) -> Result<(), StackError> {
        match self {
            Self::Local(mut local) => {
                local.stop().await;
                Ok(())
            }
            Self::Container(container) => container.remove().await,
            Self::External(_) => Ok(()),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("name", &self.name).field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that has just started. `url` leads to the server itself, with the password of cacheproof's user.
    pub(super) fn new(
        kind: ServerKind,
        name: &str,
        backend: Backend,
        url: String,
        why: &str,
        image: Option<String>,
    ) -> Self {
        let facts = ServerFacts {
            provider: backend.provider().into(),
            why: why.into(),
            url: without_password(&url),
            image,
            ..ServerFacts::default()
        };
        Self {
            kind,
            name: name.into(),
            url,
            facts,
            state: Mutex::new(ServerState { backend, paused: false, down: None }),
        }
    }

    /// Asks it for its version and settings.
    ///
    /// # Errors
    /// [`StackError::StartFailure`] when it does not answer, [`StackError::TooOld`].
    pub(super) async fn fetch_facts(&mut self) -> Result<(), StackError> {
        let what = format!("{} ({})", self.name, self.facts.url);
        let (version, settings) = self.kind.facts(&self.url).await.map_err(|why| StackError::StartFailure {
            what: what.clone(),
            why,
            help: "look at the message above".into(),
        })?;
        // An external Redis may be any server that speaks its protocol, and say any version: what it does not report is not measured.
        if self.kind == ServerKind::Postgres || self.facts.provider != "external" {
            self.kind.check_version(&what, &version)?;
        }
        self.facts.version = if version.is_empty() { "of an unknown version".into() } else { version };
        self.facts.settings = settings;
        Ok(())
    }

    /// Its name for people: `Redis`, `redis-2`, `sentinel-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the server itself, with the password of cacheproof's user: for connecting, never to be shown. The app has
    /// another URL, which leads through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its version, settings and provider. Without passwords.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// The number of its main process, for a local server. It changes with every restart.
    pub async fn pid(&self) -> Option<u32> {
        match &self.state.lock().await.backend {
            Backend::Local(local) => local.pid(),
            Backend::Container(_) | Backend::External(_) => None,
        }
    }

    /// The id of its container, if faults are allowed in it.
    pub async fn container_id(&self) -> Option<String> {
        match &self.state.lock().await.backend {
            Backend::Container(container) | Backend::External(Some(container)) => Some(container.id().to_owned()),
            Backend::Local(_) | Backend::External(None) => None,
        }
    }

    /// Injects a fault. Returns what was done to which process or container.
    ///
    /// # Errors
    /// [`StackError::External`] for an external server whose container the scenario does not name,
    /// [`StackError::Docker`].
    pub async fn inject_fault(&self, fault: ProcessFaultKind) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        let already =
            state.down.or((fault == ProcessFaultKind::Pause && state.paused).then_some(ProcessFaultKind::Pause));
        if let Some(already) = already {
            return Ok(format!("{} is {} already", self.name, already.past_participle()));
        }
        let paused = state.paused;
        let done = match &mut state.backend {
            Backend::External(None) => return Err(StackError::External(self.kind.name())),
            Backend::Local(local) => match fault {
                ProcessFaultKind::Kill => local.kill().await,
                ProcessFaultKind::Stop => local.shut_down().await,
                ProcessFaultKind::Pause => local.pause(),
            },
            Backend::Container(container) | Backend::External(Some(container)) => match fault {
                ProcessFaultKind::Kill => container.kill(paused).await?,
                ProcessFaultKind::Stop => container.stop(paused).await?,
                ProcessFaultKind::Pause => container.pause().await?,
            },
        };
        match fault {
            ProcessFaultKind::Kill | ProcessFaultKind::Stop => (state.down, state.paused) = (Some(fault), false),
            ProcessFaultKind::Pause => state.paused = true,
        }
        Ok(done)
    }

    /// Undoes a fault: starts the server again on the same port and waits until it accepts connections, or resumes it. Does
    /// nothing to a server without this fault, except that a server that has ended unexpectedly is started again as well.
    ///
    /// # Errors
    /// [`StackError::External`], [`StackError::StartFailure`] when it does not come up again, [`StackError::Docker`].
    pub async fn undo_fault(&self, fault: ProcessFaultKind) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        if fault == ProcessFaultKind::Pause {
            if !state.paused {
                return Ok(format!("{} is not paused", self.name));
            }
            let done = match &mut state.backend {
                Backend::External(None) => return Err(StackError::External(self.kind.name())),
                Backend::Local(local) => local.resume(),
                Backend::Container(container) | Backend::External(Some(container)) => container.resume().await?,
            };
            state.paused = false;
            return Ok(done);
        }
        let done = match &mut state.backend {
            Backend::External(None) => return Err(StackError::External(self.kind.name())),
            Backend::Local(local) => {
                if local.is_running() {
                    format!("{} runs already", self.name)
                } else {
                    local.restart().await?
                }
            }
            Backend::Container(container) | Backend::External(Some(container)) => {
                if container.is_running().await? {
                    format!("{} runs already", self.name)
                } else {
                    container.restart(self.kind, &self.url).await?
                }
            }
        };
        state.down = None;
        Ok(done)
    }

    /// Shuts the server down, deletes its data on disk unless `keep_data`, and starts it again on the same port. The state of a
    /// Cluster node or Sentinel is kept. Works on a server that is paused or down as well.
    ///
    /// # Errors
    /// [`StackError::External`]; [`StackError::DataDeletionNotAllowed`];
    /// [`StackError::StartFailure`] when it does not come up again, [`StackError::Docker`].
    pub async fn restart(&self, keep_data: bool) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        let paused = std::mem::take(&mut state.paused);
        if !keep_data && (self.kind == ServerKind::Postgres || matches!(state.backend, Backend::External(Some(_)))) {
            state.paused = paused;
            return Err(StackError::DataDeletionNotAllowed(self.name.clone()));
        }
        // So that `died` does not report it as an unexpected end.
        state.down.get_or_insert(ProcessFaultKind::Stop);
        let done = match &mut state.backend {
            Backend::External(None) => {
                state.down = None;
                return Err(StackError::External(self.kind.name()));
            }
            Backend::Local(local) => {
                if local.is_running() {
                    local.shut_down().await;
                }
                if !keep_data {
                    local.delete_data()?;
                }
                local.restart().await?
            }
            Backend::Container(container) | Backend::External(Some(container)) => {
                if container.is_running().await? {
                    container.stop(paused).await?;
                }
                if !keep_data {
                    container.delete_data().await?;
                }
                container.restart(self.kind, &self.url).await?
            }
        };
        state.down = None;
        Ok(format!("stopped, {done}{}", if keep_data { "" } else { " without its data" }))
    }

    /// Whether a fresh connection gets an answer (PING or SELECT 1) within 300 ms.
    pub async fn answers(&self) -> bool {
        self.kind.ping(&self.url, PING_TIMEOUT).await.is_ok()
    }

    /// How it ended, with its last log lines, if it has ended without a fault. `None` while a fault is being injected or undone,
    /// and for an external server whose container is not known.
    pub async fn died(&self) -> Option<String> {
        let mut state = self.state.try_lock().ok()?;
        if state.down.is_some() {
            return None;
        }
        match &mut state.backend {
            Backend::Local(local) => local.exit_report(),
            Backend::Container(container) | Backend::External(Some(container)) => container.exit_report().await,
            Backend::External(None) => None,
        }
    }

    /// Stops it. An external server keeps running, and faults in its container are undone.
    pub(super) async fn down(self) -> Result<(), StackError> {
        let (external, paused, down) = {
            let state = self.state.lock().await;
            (matches!(state.backend, Backend::External(_)), state.paused, state.down)
        };
        if external && paused {
            self.undo_fault(ProcessFaultKind::Pause).await?;
        }
        if let Some(fault) = down.filter(|_| external) {
            self.undo_fault(fault).await?;
        }
        self.state.into_inner().backend.down().await
    }
}
