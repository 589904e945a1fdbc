//! One server, wherever it runs: its URL, its faults, its end.

use std::time::Duration;

use tokio::sync::Mutex;

use super::StackError;
use super::container::ContainerServer;
use super::local::LocalServer;
use super::probe::{ServerKind, without_password};
use cacheproof_core::journal::ServerFacts;

/// How long [`Server::answers`] waits.
const PING_TIMEOUT: Duration = Duration::from_millis(300);

/// What is done to a process or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessFaultKind {
    /// SIGKILL; undone by starting it again.
    Kill,
    /// An orderly end: SIGTERM (Postgres: SIGINT, its fast shutdown; a container: stop); undone by starting it again.
    Stop,
    /// SIGSTOP (a container: pause); undone by SIGCONT.
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

    /// What a server is to which this was done.
    fn past_participle(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
            Self::Pause => "paused",
        }
    }
}

/// A server that is up: a Redis, a Valkey, a Sentinel or a Postgres. All faults are idempotent.
pub struct Server {
    pub(super) kind: ServerKind,
    name: String,
    pub(super) url: String,
    pub(super) facts: ServerFacts,
    state: Mutex<State>,
}

/// Where it runs and what was done to it.
struct State {
    backend: Backend,
    paused: bool,
    /// How it was ended on purpose.
    down: Option<ProcessFaultKind>,
}

/// Where it runs.
pub(super) enum Backend {
    Local(Box<LocalServer>),
    /// A container of ours.
    Container(Box<ContainerServer>),
    /// There already. With a container of the user's own, where the scenario allows to break it.
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

    /// Takes down what is ours.
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
    /// A server that has just come up. `url`: where it listens itself, with the password of cacheproof's own user.
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
        Self { kind, name: name.into(), url, facts, state: Mutex::new(State { backend, paused: false, down: None }) }
    }

    /// Asks it what it is.
    ///
    /// # Errors
    /// [`StackError::StartFailure`] when it does not say, [`StackError::TooOld`].
    pub(super) async fn fetch_facts(&mut self) -> Result<(), StackError> {
        let what = format!("{} ({})", self.name, self.facts.url);
        let (version, settings) = self.kind.facts(&self.url).await.map_err(|why| StackError::StartFailure {
            what: what.clone(),
            why,
            help: "look at the message above".into(),
        })?;
        self.kind.check_version(&what, &version)?;
        self.facts.version = version;
        self.facts.settings = settings;
        Ok(())
    }

    /// Its name for people: `Redis`, `redis-2`, `sentinel-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens itself, with the password of cacheproof's own user: for connecting, never for showing. The
    /// app has another URL, which leads through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it is and where it came from; no password.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// Its first process, where it is a local one. Changes with every restart.
    pub async fn pid(&self) -> Option<u32> {
        match &self.state.lock().await.backend {
            Backend::Local(local) => local.pid(),
            Backend::Container(_) | Backend::External(_) => None,
        }
    }

    /// Its first process and the time that was started, as [`cacheproof_supervise::undo_process`] wants them.
    pub async fn process(&self) -> Option<(u32, String)> {
        match &self.state.lock().await.backend {
            Backend::Local(local) => local.process(),
            Backend::Container(_) | Backend::External(_) => None,
        }
    }

    /// Its container's id, where it is one that may be broken.
    pub async fn container_id(&self) -> Option<String> {
        match &self.state.lock().await.backend {
            Backend::Container(container) | Backend::External(Some(container)) => Some(container.id().to_owned()),
            Backend::Local(_) | Backend::External(None) => None,
        }
    }

    /// Breaks it. Says what was done to which process or container.
    ///
    /// # Errors
    /// [`StackError::External`] for an external server whose container the scenario does not name,
    /// [`StackError::Supervise`] when Docker refuses.
    pub async fn inject_fault(&self, action: ProcessFaultKind) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        let already =
            state.down.or((action == ProcessFaultKind::Pause && state.paused).then_some(ProcessFaultKind::Pause));
        if let Some(already) = already {
            return Ok(format!("{} is {} already", self.name, already.past_participle()));
        }
        let paused = state.paused;
        let done = match &mut state.backend {
            Backend::External(None) => return Err(StackError::External(self.kind.name())),
            Backend::Local(local) => match action {
                ProcessFaultKind::Kill => local.kill().await,
                ProcessFaultKind::Stop => local.shut_down().await,
                ProcessFaultKind::Pause => local.pause(),
            },
            Backend::Container(container) | Backend::External(Some(container)) => match action {
                ProcessFaultKind::Kill => container.kill(paused).await?,
                ProcessFaultKind::Stop => container.stop(paused).await?,
                ProcessFaultKind::Pause => container.pause().await?,
            },
        };
        match action {
            ProcessFaultKind::Kill | ProcessFaultKind::Stop => (state.down, state.paused) = (Some(action), false),
            ProcessFaultKind::Pause => state.paused = true,
        }
        Ok(done)
    }

    /// Undoes a fault: starts it again on the same port and waits until it accepts connections, or lets it run on.
    /// A server that is not broken that way is left alone; one that died by itself is started again too.
    ///
    /// # Errors
    /// [`StackError::External`], [`StackError::StartFailure`] when it does not come up again, [`StackError::Supervise`].
    pub async fn undo_fault(&self, action: ProcessFaultKind) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        if action == ProcessFaultKind::Pause {
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

    /// Stops it in order, deletes what it kept on its disk unless `keep_data`, and starts it again on the same port.
    /// What makes it a member of a Cluster or a Sentinel is kept. Also for one that is paused or down.
    ///
    /// # Errors
    /// [`StackError::External`]; [`StackError::DataDeletionNotAllowed`] where its data are not cacheproof's to delete;
    /// [`StackError::StartFailure`] when it does not come up again, [`StackError::Supervise`].
    pub async fn restart(&self, keep_data: bool) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        let paused = std::mem::take(&mut state.paused);
        if !keep_data && (self.kind == ServerKind::Postgres || matches!(state.backend, Backend::External(Some(_)))) {
            state.paused = paused;
            return Err(StackError::DataDeletionNotAllowed(self.name.clone()));
        }
        // Until it is up again nobody should think that it died by itself.
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

    /// A sentence with its last log lines when it died although nobody broke it. `None` for an external server
    /// whose container is not known, and while it is being broken or mended.
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

    /// Takes it down. An external server is left running, and whatever was done to its container is undone.
    pub(super) async fn down(self) -> Result<(), StackError> {
        let (external, paused, down) = {
            let state = self.state.lock().await;
            (matches!(state.backend, Backend::External(_)), state.paused, state.down)
        };
        if external && paused {
            self.undo_fault(ProcessFaultKind::Pause).await?;
        }
        if let Some(action) = down.filter(|_| external) {
            self.undo_fault(action).await?;
        }
        self.state.into_inner().backend.down().await
    }
}
