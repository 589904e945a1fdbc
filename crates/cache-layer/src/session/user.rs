//! The list of a user's sessions: the permission that each of them needs.

use super::core::{Core, now_ms};
use super::guard::Guard;
use super::id::hash;
use super::{SESSIONS_OF_USER, SessionError};
use crate::encryption::Opened;
use crate::key::Key;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) sessions: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) handle: String,
    /// The hash of the id it has now.
    pub(super) record: String,
    pub(super) started_ms: u64,
    pub(super) note: String,
}

impl List {
    pub(super) fn has(&self, handle: &str, record: &str) -> bool {
        self.sessions.iter().any(|line| line.handle == handle && line.record == record)
    }

    /// Takes lines away; the hashes of their ids.
    pub(super) fn remove(&mut self, unwanted: impl Fn(&Line) -> bool) -> Vec<String> {
        self.sessions.extract_if(.., |line| unwanted(line)).map(|line| line.record).collect()
    }
}

pub(super) fn key_of(user: &str) -> Key {
    Key::new(SESSIONS_OF_USER, format!("sessions:user:{}", hash(user.as_bytes())))
}

fn belongs_to(user: &str) -> Vec<u8> {
    [b"user\0", user.as_bytes()].concat()
}

impl Core {
    /// The list, and whether it is sealed with the newest key. One that cannot be read is none.
    pub(super) async fn list_of(&self, user: &str) -> Result<Option<(List, bool)>, SessionError> {
        let found = self.store.get(&key_of(user)).await?;
        Ok(found.and_then(|found| self.open_list(user, &found.value)))
    }

    fn open_list(&self, user: &str, record: &[u8]) -> Option<(List, bool)> {
        match self.open(record, &belongs_to(user)) {
            Opened::Open { plain, newest } => Some((serde_json::from_slice(&plain).ok()?, newest)),
            Opened::UnknownKey | Opened::Broken => None,
        }
    }

    /// Changes the list, one request at a time. `change` says whether there is anything to write; it may be called again, with what is there
    /// then, when somebody deleted the list meanwhile.
    ///
    /// The list outlives each session on it: it is written for the longest life of a session whenever one begins.
    pub(super) async fn alter_list<R>(
        &self,
        user: &str,
        mut change: impl FnMut(&mut List) -> (bool, R) + Send,
    ) -> Result<R, SessionError> {
        // Each round that fails is one in which somebody else ended all sessions of the user.
        for _ in 0..20 {
            let (guard, found) = Guard::take(&self.store, &key_of(user), self.config.patience).await?;
            let mut list = found.and_then(|found| self.open_list(user, &found.value)).unwrap_or_default().0;
            let now = now_ms();
            list.sessions.retain(|line| self.left_of(line.started_ms, now).is_some());
            let (write, result) = change(&mut list);
            if !write {
                return Ok(result);
            }
            let plain = serde_json::to_vec(&list).map_err(|_| SessionError::Data("the list of a user's sessions"))?;
            let record = self.seal(&plain, &belongs_to(user))?;
            if guard.write(record, self.config.longest).await? {
                return Ok(result);
            }
        }
        Err(SessionError::Busy)
    }
}
