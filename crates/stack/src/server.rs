//! One server, wherever it runs: its URL, its faults, its end.

use std::time::Duration;

use tokio::sync::Mutex;

use super::StackError;
use super::container::ContainerServer;
use super::local::LocalServer;
use super::probe::{Kind, without_password};
use cacheproof_core::observe::ServerFacts;

/// How long [`Server::answers`] waits.
const ANSWER: Duration = Duration::from_millis(300);

/// What is done to a process or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// SIGKILL; undone by starting it again.
    Kill,
    /// An orderly end: SIGTERM (Postgres: SIGINT, its fast shutdown; a container: stop); undone by starting it again.
    Stop,
    /// SIGSTOP (a container: pause); undone by SIGCONT.
    Pause,
}

impl Break {
    /// `kill`, `stop` or `pause`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
        }
    }

    /// What a server is to which this was done.
    fn done(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
            Self::Pause => "paused",
        }
    }
}

/// A server that is up: a Redis, a Valkey, a Sentinel or a Postgres. All faults are idempotent.
pub struct Server {
    pub(super) kind: Kind,
    name: String,
    pub(super) url: String,
    pub(super) facts: ServerFacts,
    state: Mutex<State>,
}

/// Where it runs and what was done to it.
struct State {
    place: Place,
    paused: bool,
    /// How it was ended on purpose.
    down: Option<Break>,
}

/// Where it runs.
pub(super) enum Place {
    Local(Box<LocalServer>),
    /// A container of ours.
    Container(Box<ContainerServer>),
    /// There already. With a container of the user's own, where the scenario allows to break it.
    External(Option<Box<ContainerServer>>),
}

impl Place {
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
    pub(super) fn new(kind: Kind, name: &str, place: Place, url: String, why: &str, image: Option<String>) -> Self {
        let facts = ServerFacts {
            provider: place.provider().into(),
            why: why.into(),
            url: without_password(&url),
            image,
            ..ServerFacts::default()
        };
        Self { kind, name: name.into(), url, facts, state: Mutex::new(State { place, paused: false, down: None }) }
    }

    /// Asks it what it is.
    ///
    /// # Errors
    /// [`StackError::NotUp`] when it does not say, [`StackError::TooOld`].
    pub(super) async fn ask_facts(&mut self) -> Result<(), StackError> {
        let what = format!("{} ({})", self.name, self.facts.url);
        let (version, settings) = self.kind.facts(&self.url).await.map_err(|why| StackError::NotUp {
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
        match &self.state.lock().await.place {
            Place::Local(local) => local.pid(),
            Place::Container(_) | Place::External(_) => None,
        }
    }

    /// Its first process and the time that was started, as [`cacheproof_supervise::undo_process`] wants them.
    pub async fn process(&self) -> Option<(u32, String)> {
        match &self.state.lock().await.place {
            Place::Local(local) => local.process(),
            Place::Container(_) | Place::External(_) => None,
        }
    }

    /// Its container's id, where it is one that may be broken.
    pub async fn container_id(&self) -> Option<String> {
        match &self.state.lock().await.place {
            Place::Container(container) | Place::External(Some(container)) => Some(container.id().to_owned()),
            Place::Local(_) | Place::External(None) => None,
        }
    }

    /// Breaks it. Says what was done to which process or container.
    ///
    /// # Errors
    /// [`StackError::External`] for an external server whose container the scenario does not name,
    /// [`StackError::Supervise`] when Docker refuses.
    pub async fn break_it(&self, action: Break) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        let already = state.down.or((action == Break::Pause && state.paused).then_some(Break::Pause));
        if let Some(already) = already {
            return Ok(format!("{} is {} already", self.name, already.done()));
        }
        let paused = state.paused;
        let done = match &mut state.place {
            Place::External(None) => return Err(StackError::External(self.kind.name())),
            Place::Local(local) => match action {
                Break::Kill => local.kill().await,
                Break::Stop => local.end().await,
                Break::Pause => local.pause(),
            },
            Place::Container(container) | Place::External(Some(container)) => match action {
                Break::Kill => container.kill(paused).await?,
                Break::Stop => container.stop(paused).await?,
                Break::Pause => container.pause().await?,
            },
        };
        match action {
            Break::Kill | Break::Stop => (state.down, state.paused) = (Some(action), false),
            Break::Pause => state.paused = true,
        }
        Ok(done)
    }

    /// Undoes a fault: starts it again on the same port and waits until it accepts connections, or lets it run on.
    /// A server that is not broken that way is left alone; one that died by itself is started again too.
    ///
    /// # Errors
    /// [`StackError::External`], [`StackError::NotUp`] when it does not come up again, [`StackError::Supervise`].
    pub async fn mend(&self, action: Break) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        if action == Break::Pause {
            if !state.paused {
                return Ok(format!("{} is not paused", self.name));
            }
            let done = match &mut state.place {
                Place::External(None) => return Err(StackError::External(self.kind.name())),
                Place::Local(local) => local.resume(),
                Place::Container(container) | Place::External(Some(container)) => container.resume().await?,
            };
            state.paused = false;
            return Ok(done);
        }
        let done = match &mut state.place {
            Place::External(None) => return Err(StackError::External(self.kind.name())),
            Place::Local(local) => {
                if local.runs() {
                    format!("{} runs already", self.name)
                } else {
                    local.restart().await?
                }
            }
            Place::Container(container) | Place::External(Some(container)) => {
                if container.runs().await? {
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
    /// [`StackError::External`]; [`StackError::KeepsData`] where its data are not cacheproof's to delete;
    /// [`StackError::NotUp`] when it does not come up again, [`StackError::Supervise`].
    pub async fn restart(&self, keep_data: bool) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        let paused = std::mem::take(&mut state.paused);
        if !keep_data && (self.kind == Kind::Postgres || matches!(state.place, Place::External(Some(_)))) {
            state.paused = paused;
            return Err(StackError::KeepsData(self.name.clone()));
        }
        // Until it is up again nobody should think that it died by itself.
        state.down.get_or_insert(Break::Stop);
        let done = match &mut state.place {
            Place::External(None) => {
                state.down = None;
                return Err(StackError::External(self.kind.name()));
            }
            Place::Local(local) => {
                if local.runs() {
                    local.end().await;
                }
                if !keep_data {
                    local.forget_data()?;
                }
                local.restart().await?
            }
            Place::Container(container) | Place::External(Some(container)) => {
                if container.runs().await? {
                    container.stop(paused).await?;
                }
                if !keep_data {
                    container.forget_data().await?;
                }
                container.restart(self.kind, &self.url).await?
            }
        };
        state.down = None;
        Ok(format!("stopped, {done}{}", if keep_data { "" } else { " without its data" }))
    }

    /// Whether a fresh connection gets an answer (PING or SELECT 1) within 300 ms.
    pub async fn answers(&self) -> bool {
        self.kind.ask(&self.url, ANSWER).await.is_ok()
    }

    /// A sentence with its last log lines when it died although nobody broke it. `None` for an external server
    /// whose container is not known, and while it is being broken or mended.
    pub async fn died(&self) -> Option<String> {
        let mut state = self.state.try_lock().ok()?;
        if state.down.is_some() {
            return None;
        }
        match &mut state.place {
            Place::Local(local) => local.last_words(),
            Place::Container(container) | Place::External(Some(container)) => container.last_words().await,
            Place::External(None) => None,
        }
    }

    /// Takes it down. An external server is left running, and whatever was done to its container is undone.
    pub(super) async fn down(self) -> Result<(), StackError> {
        let (external, paused, down) = {
            let state = self.state.lock().await;
            (matches!(state.place, Place::External(_)), state.paused, state.down)
        };
        if external && paused {
            self.mend(Break::Pause).await?;
        }
        if let Some(action) = down.filter(|_| external) {
            self.mend(action).await?;
        }
        self.state.into_inner().place.down().await
    }
}
