//! A cache in the process: answers by key, each with its expiry.

use axum::body::Bytes;
use axum::http::StatusCode;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

type LocalEntry = (Instant, StatusCode, Bytes);

#[derive(Debug, Default)]
pub(crate) struct LocalCache(Mutex<HashMap<String, LocalEntry>>);

impl LocalCache {
    pub(crate) fn get(&self, name: &str) -> Option<(StatusCode, Bytes)> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (expiry, status, body) = entries.get(name)?;
        (Instant::now() < *expiry).then(|| (*status, body.clone()))
    }

    pub(crate) fn store(&self, name: &str, status: StatusCode, body: &Bytes, ttl: Duration) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(name.to_owned(), (Instant::now() + ttl, status, body.clone()));
    }

    pub(crate) fn remove(&self, names: &[String]) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            entries.remove(name);
        }
    }
}
