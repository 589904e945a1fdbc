//! Sees to it that each server of the moment has its relay.

use super::config::PromiseConfig;
use super::relay::{Ground, Log, Relay};
use crate::cache::Cache;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// What tells one ground from another.
type Which = (String, usize);

pub(super) struct Relays<L> {
    cache: Cache,
    log: Arc<L>,
    config: PromiseConfig,
    tasks: JoinSet<()>,
    running: HashMap<Which, AbortHandle>,
    any: watch::Sender<bool>,
}

impl<L: Log> Relays<L> {
    /// Also tells when the first one runs.
    pub(super) fn new(cache: Cache, log: Arc<L>, config: PromiseConfig) -> (Self, watch::Receiver<bool>) {
        let (any, told) = watch::channel(false);
        (Self { cache, log, config, tasks: JoinSet::new(), running: HashMap::new(), any }, told)
    }

    /// Returns when told to stop, and no relay runs any more.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            self.look();
            // An end without a word is an end, too.
            if timeout(self.config.poll, stop.wait_for(|stop| *stop)).await.is_ok() {
                break;
            }
        }
        self.tasks.shutdown().await;
    }

    /// Starts a relay where there is none, and stops those of servers that are gone.
    fn look(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for ground in self.cache.store().grounds(self.config.delta) {
            let which = (ground.name(), ground.incarnation());
            let running = before.remove(&which).filter(|relay| !relay.is_finished());
            let relay = running.unwrap_or_else(|| self.start(ground, which.0.clone()));
            self.running.insert(which, relay);
        }
        before.into_values().for_each(|gone| gone.abort());
        if !self.running.is_empty() {
            self.any.send_replace(true);
        }
    }

    fn start(&mut self, ground: Arc<dyn Ground>, name: String) -> AbortHandle {
        let (metrics, nudge) = (self.cache.metrics().promise().clone(), self.cache.invalidated());
        let relay = Relay { log: Arc::clone(&self.log), ground, name, config: self.config, metrics, nudge };
        self.tasks.spawn(relay.run())
    }
}
