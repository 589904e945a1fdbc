//! Deleting: at once, and later what could not be deleted at once.

use super::Inner;
use super::owed::{Debts, Owed};
use super::scripts;
use super::servers::{Command, Order, Via};
use super::sweep::Sweep;
use super::trust;
use crate::backoff::Backoff;
use crate::glob;
use crate::store::{CacheError, Invalidation, news};
use redis::Value;
use std::sync::Arc;
use std::time::Duration;

/// The longest limit of the waits between two attempts to pay. Not that of connecting: a server that was busy, or refused for a
/// while, gets well on the connections that are up, and nothing tells; until then reads go to the database.
const PAY_AGAIN_AT_MOST: Duration = Duration::from_millis(500);

/// Keys unlinked in one round trip.
pub(super) const BATCH: usize = 500;

impl Inner {
    /// Up to 500 names and no pattern: one round trip to each server.
    pub(super) async fn delete(&self, what: &Invalidation, via: Via) -> Result<u64, CacheError> {
        // Tags first: they are few, and stand for many.
        let tags = what.tags.iter().map(|tag| scripts::tag_name(&self.config.namespace, tag));
        let mut commands: Vec<_> = tags.map(|name| scripts::new_generation(&name)).collect();
        let mut gone = 0;
        for keys in what.keys.chunks(BATCH) {
            commands.extend(keys.iter().map(|key| scripts::unlink(self.name(key))));
            if what.keys.len() > BATCH {
                gone += self.carry_out(std::mem::take(&mut commands), None, via).await?;
            }
        }
        let told_with_it = what.patterns.is_empty() && self.one_server();
        let telling = told_with_it.then(|| self.announcement(what)).flatten();
        gone += self.carry_out(commands, telling, via).await?;
        for pattern in &what.patterns {
            gone += self.delete_pattern(pattern, via).await?;
        }
        if !told_with_it {
            self.announce(what, via).await?;
        }
        Ok(gone)
    }

    /// Deletions, and what is told of them, each of which must succeed; how many keys went.
    async fn carry_out(&self, commands: Vec<Command>, told: Option<Command>, via: Via) -> Result<u64, CacheError> {
        let mut gone = 0;
        let deletions = commands.len();
        let answers = self.servers.call_all(via, commands.into_iter().chain(told).collect()).await;
        for (i, answer) in answers.into_iter().enumerate() {
            gone += match answer? {
                _ if i >= deletions => 0,
                // That of a tag is `OK`.
                Value::Int(n) => u64::try_from(n).unwrap_or(0),
                _ => 0,
            };
        }
        Ok(gone)
    }

    fn sweep(&self, pattern: &str, via: Via) -> Sweep {
        Sweep::new(&self.servers, format!("{}{pattern}", glob::escaped(&self.config.namespace)), via)
    }

    /// Names without namespace, the layer's own notes left out.
    pub(super) async fn scan(&self, pattern: &str, at_most: usize) -> Result<Vec<String>, CacheError> {
        let mut met = std::collections::HashSet::new();
        let skip = self.config.namespace.len();
        let mut sweep = self.sweep(pattern, Via::Breaker);
        while let Some(names) = sweep.next().await? {
            let names = names.iter().filter_map(|name| name.get(skip..)).filter(|name| !name.starts_with('!'));
            met.extend(names.map(str::to_owned));
            if met.len() >= at_most {
                break;
            }
        }
        Ok(met.into_iter().take(at_most).collect())
    }

    /// Under a namespace everything is the layer's. Without one the names say nothing, for a shared Redis may have a `posts:7` of somebody
    /// else: what goes is what bears the layer's mark (see [`scripts`]), looked at by a script so that no value crosses the network.
    async fn delete_pattern(&self, pattern: &str, via: Via) -> Result<u64, CacheError> {
        let (marked_only, skip) = (self.config.namespace.is_empty(), self.config.namespace.len());
        let own = trust::names(&self.config.namespace);
        let mut gone = 0;
        let mut sweep = self.sweep(pattern, via);
        while let Some(mut names) = sweep.next().await? {
            let unlink = |name: String| {
                if marked_only && !name.starts_with(scripts::TAG) {
                    self.scripts.unlink_own(&name)
                } else {
                    scripts::unlink(name)
                }
            };
            // Position and watermark say what the data reflect, which a deletion does not change.
            names.retain(|name| !trust::is_note(name, &own));
            let (notes, keys): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|name| name.get(skip..).is_some_and(|name| name.starts_with('!')));
            gone += self.carry_out(keys.into_iter().map(unlink).collect(), None, via).await?;
            // Tags and the like are no keys that went.
            self.carry_out(notes.into_iter().map(unlink).collect(), None, via).await?;
        }
        Ok(gone)
    }

    pub(super) async fn clear(&self, via: Via) -> Result<u64, CacheError> {
        let gone = self.delete_pattern("*", via).await?;
        self.announce(&Invalidation::everything(), via).await?;
        Ok(gone)
    }

    /// Whether what is sent together is carried out in order.
    pub(super) fn one_server(&self) -> bool {
        self.servers.all().len() == 1
    }

    /// The message to the other processes, for the same round trip as what it tells of: behind it, on the same connection.
    pub(super) fn announcement(&self, what: &Invalidation) -> Option<Command> {
        if !self.config.announce || what.is_empty() {
            return None;
        }
        let channel = self.channel();
        let mut command = redis::cmd("PUBLISH");
        command.arg(&channel).arg(news::to_message(what));
        Some(Command::new(channel, command).ordered(Order::Behind))
    }

    /// The message to the other processes, in a round trip of its own: where several servers have to be through before.
    pub(super) async fn announce(&self, what: &Invalidation, via: Via) -> Result<(), CacheError> {
        if let Some(command) = self.announcement(what) {
            self.servers.call::<u64>(via, command).await?;
        }
        Ok(())
    }

    pub(super) fn channel(&self) -> String {
        [self.config.namespace.as_str(), "!news"].concat()
    }

    /// Makes up for lost invalidations as soon as the server can be reached, and only then lets reads through.
    pub(super) async fn pay_what_is_owed(self: Arc<Self>) {
        let mut came_up = self.servers.came_up();
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_at_most.min(PAY_AGAIN_AT_MOST));
        loop {
            if !self.owed.any() {
                tokio::select! {
                    () = self.owed.added.notified() => {}
                    _ = came_up.changed() => self.try_now(),
                }
                continue;
            }
            came_up.mark_unchanged();
            if self.pay_once().await {
                backoff.reset();
            } else {
                tokio::select! {
                    () = tokio::time::sleep(backoff.next_wait()) => {}
                    _ = came_up.changed() => {}
                }
            }
        }
    }

    /// Whether what was owed when it began could be paid.
    pub(super) async fn pay_once(&self) -> bool {
        let debts = Taken { owed: &self.owed, debts: Some(self.owed.take()) };
        let Some(what) = &debts.debts else { return true };
        let paid = if what.everything {
            self.clear(Via::Direct).await
        } else {
            self.delete(&what.to_invalidation(), Via::Direct).await
        };
        if paid.is_err() {
            return false;
        }
        if debts.paid() {
            tracing::info!("lost invalidations are made up for; reading from the cache again");
            self.try_now();
        }
        true
    }

    fn try_now(&self) {
        self.servers.all().iter().for_each(|server| server.breaker.try_now());
    }
}

/// Debts being paid; owed again unless it is said that they were paid: also when the payment is cut off.
struct Taken<'a> {
    owed: &'a Owed,
    debts: Option<Debts>,
}

impl Taken<'_> {
    /// Whether nothing new came up meanwhile.
    fn paid(mut self) -> bool {
        self.debts = None;
        self.owed.paid()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(debts) = self.debts.take() {
            self.owed.unpaid(debts);
        }
    }
}

/// Owes a deletion unless told that it was done: also when the request that wanted it is cancelled.
pub(super) struct Pledge<'a> {
    owed: &'a Owed,
    /// `None`: of everything.
    what: Option<&'a Invalidation>,
    done: bool,
}

impl<'a> Pledge<'a> {
    pub(super) fn new(owed: &'a Owed, what: Option<&'a Invalidation>) -> Self {
        Self { owed, what, done: false }
    }

    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Pledge<'_> {
    fn drop(&mut self) {
        match self.what {
            _ if self.done => {}
            Some(what) => self.owed.add(what),
            None => self.owed.add_everything(),
        }
    }
}
