//! One server, wherever it runs: its URL, its faults, its end.

use std::time::Duration;

use tokio::sync::Mutex;

use super::StackError;
use super::container::ContainerServer;
use super::local::LocalServer;
use super::probe::{Kind, without_password};
use crate::observe::ServerFacts;
use crate::scenario::FaultAction;

/// How long [`Server::answers`] waits.
const ANSWER: Duration = Duration::from_millis(300);

/// A Redis or Postgres that is up. All faults are idempotent.
pub struct Server {
    pub(super) kind: Kind,
    pub(super) url: String,
    pub(super) facts: ServerFacts,
    pub(super) state: Mutex<State>,
}

/// Where it runs and what was done to it.
pub(super) struct State {
    pub(super) place: Place,
    pub(super) paused: bool,
    pub(super) killed: bool,
}

/// Where it runs.
pub(super) enum Place {
    Local(Box<LocalServer>),
    Container(Box<ContainerServer>),
    External,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that has just come up: asks it what it is.
    pub(super) async fn introduce(
        kind: Kind,
        place: Place,
        url: String,
        why: String,
        image: Option<String>,
    ) -> Result<Self, StackError> {
        let provider = match place {
            Place::Local(_) => "local",
            Place::Container(_) => "container",
            Place::External => "external",
        };
        let mut server = Self {
            kind,
            facts: ServerFacts {
                provider: provider.into(),
                why,
                url: without_password(&url),
                image,
                ..ServerFacts::default()
            },
            url,
            state: Mutex::new(State { place, paused: false, killed: false }),
        };
        match server.ask_facts().await {
            Ok(()) => Ok(server),
            Err(error) => {
                let _ = server.down().await;
                Err(error)
            }
        }
    }

    async fn ask_facts(&mut self) -> Result<(), StackError> {
        let what = format!("{} ({})", self.kind.name(), self.facts.url);
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

    /// Its URL, with the password: for connecting, never for showing.
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
            Place::Container(_) | Place::External => None,
        }
    }

    /// Its container's id, where it is one.
    pub async fn container_id(&self) -> Option<String> {
        match &self.state.lock().await.place {
            Place::Container(container) => Some(container.id().to_owned()),
            Place::Local(_) | Place::External => None,
        }
    }

    /// Breaks it. Says what was done to which process or container.
    ///
    /// # Errors
    /// [`StackError::External`] for an external server, [`StackError::Docker`] when Docker refuses.
    pub async fn break_it(&self, action: FaultAction) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        if state.killed || (action == FaultAction::Pause && state.paused) {
            return Ok(format!("{} is {} already", self.kind.name(), if state.killed { "killed" } else { "paused" }));
        }
        let paused = state.paused;
        let done = match (&mut state.place, action) {
            (Place::External, _) => return Err(StackError::External(self.kind.name())),
            (Place::Local(local), FaultAction::Kill) => local.kill().await,
            (Place::Local(local), FaultAction::Pause) => local.pause(),
            (Place::Container(container), FaultAction::Kill) => container.kill(paused).await?,
            (Place::Container(container), FaultAction::Pause) => container.pause().await?,
        };
        match action {
            FaultAction::Kill => (state.killed, state.paused) = (true, false),
            FaultAction::Pause => state.paused = true,
        }
        Ok(done)
    }

    /// Undoes a fault: starts it again on the same port and waits until it accepts connections, or lets it run on.
    /// A server that is not broken that way is left alone; one that died by itself is started again too.
    ///
    /// # Errors
    /// [`StackError::External`], [`StackError::NotUp`] when it does not come up again, [`StackError::Docker`].
    pub async fn mend(&self, action: FaultAction) -> Result<String, StackError> {
        let mut state = self.state.lock().await;
        if action == FaultAction::Pause && !state.paused {
            return Ok(format!("{} is not paused", self.kind.name()));
        }
        let runs = match &mut state.place {
            Place::External => return Err(StackError::External(self.kind.name())),
            Place::Local(local) => local.runs(),
            Place::Container(container) => container.runs().await?,
        };
        if action == FaultAction::Kill && runs {
            state.killed = false;
            return Ok(format!("{} runs already", self.kind.name()));
        }
        let done = match (&mut state.place, action) {
            (Place::External, _) => return Err(StackError::External(self.kind.name())),
            (Place::Local(local), FaultAction::Kill) => local.restart().await?,
            (Place::Local(local), FaultAction::Pause) => local.resume(),
            (Place::Container(container), FaultAction::Kill) => container.restart(self.kind, &self.url).await?,
            (Place::Container(container), FaultAction::Pause) => container.resume().await?,
        };
        match action {
            FaultAction::Kill => state.killed = false,
            FaultAction::Pause => state.paused = false,
        }
        Ok(done)
    }

    /// Whether a fresh connection gets an answer (PING or SELECT 1) within 300 ms.
    pub async fn answers(&self) -> bool {
        self.kind.ask(&self.url, ANSWER).await.is_ok()
    }

    /// A sentence with its last log lines when it died although nobody broke it. `None` for an external server,
    /// and while it is being broken or mended.
    pub async fn died(&self) -> Option<String> {
        let mut state = self.state.try_lock().ok()?;
        if state.killed {
            return None;
        }
        match &mut state.place {
            Place::Local(local) => local.last_words(),
            Place::Container(container) => container.last_words().await,
            Place::External => None,
        }
    }

    /// Takes it down. An external server is left alone.
    pub(super) async fn down(self) -> Result<(), StackError> {
        match self.state.into_inner().place {
            Place::Local(mut local) => {
                local.stop().await;
                Ok(())
            }
            Place::Container(container) => container.remove().await,
            Place::External => Ok(()),
        }
    }
}
