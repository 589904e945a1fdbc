//! Reading and storing.

use super::Inner;
use super::answers::Answers;
use super::scripts::{self, joined};
use super::servers::{Command, Order, Via, parsed};
use crate::config::Coherence;
use crate::key::Key;
use crate::store::{CacheError, Cached, Invalidation, Lease, Leased};
use bytes::Bytes;
use std::time::Duration;

/// Something to be stored under a name, with the names of its tags.
pub(super) struct Put<'a> {
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    pub(super) value: &'a Bytes,
    pub(super) ttl: Duration,
}

impl Inner {
    pub(super) fn name(&self, key: &str) -> String {
        [self.config.namespace.as_str(), key].concat()
    }

    fn tag_names(&self, key: &Key) -> impl Iterator<Item = String> {
        key.tags().iter().map(|tag| scripts::tag_name(&self.config.namespace, tag))
    }

    fn refuse_while_owing(&self) -> Result<(), CacheError> {
        if self.owed.any() {
            return Err(CacheError::Unavailable("a lost invalidation is being made up for"));
        }
        Ok(())
    }

    pub(super) async fn call_all(&self, commands: Vec<Command>) -> Answers<'_> {
        Answers::new(self.servers.call_all(Via::Breaker, commands).await, &self.lookups)
    }

    /// What is read to be served, or says that something may be.
    async fn read_all(&self, commands: Vec<Command>) -> Answers<'_> {
        let via = if self.config.coherence == Coherence::Outbox { Via::Trusted } else { Via::Breaker };
        Answers::new(self.servers.call_all(via, commands).await, &self.lookups)
    }

    fn note_untrusted<'a>(&self, found: impl Iterator<Item = &'a Result<Option<Cached>, CacheError>>) {
        if self.config.coherence == Coherence::Outbox {
            self.metrics.untrusted(found.filter(|found| matches!(found, Err(CacheError::Untrusted))).count());
        }
    }

    /// What to ask for one key: its entry, then the generations of its tags.
    fn look_up(&self, key: &Key, commands: &mut Vec<Command>) {
        commands.push(scripts::get(self.name(key.name()), !key.tags().is_empty()));
        commands.extend(self.tag_names(key).map(|name| scripts::generation(&name)));
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Cached>, CacheError> {
        self.refuse_while_owing()?;
        let mut commands = Vec::with_capacity(1 + key.tags().len());
        self.look_up(key, &mut commands);
        let found = self.read_all(commands).await.found(key.tags().len());
        self.note_untrusted(std::iter::once(&found));
        found
    }

    pub(super) async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        let found = self.look_up_all(keys, Self::read_all).await;
        self.note_untrusted(found.iter());
        found
    }

    /// Where only trust may be wanting: what is there all the same.
    pub(super) async fn get_untrusted(&self, keys: &[Key]) -> Vec<Result<Option<Cached>, CacheError>> {
        if self.config.coherence != Coherence::Outbox {
            return vec![Ok(None); keys.len()];
        }
        self.look_up_all(keys, Self::call_all).await
    }

    async fn look_up_all<'a>(
        &'a self,
        keys: &[Key],
        ask: impl AsyncFnOnce(&'a Self, Vec<Command>) -> Answers<'a>,
    ) -> Vec<Result<Option<Cached>, CacheError>> {
        if let Err(error) = self.refuse_while_owing() {
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        let mut commands = Vec::with_capacity(keys.len());
        keys.iter().for_each(|key| self.look_up(key, &mut commands));
        let mut answers = ask(self, commands).await;
        keys.iter().map(|key| answers.found(key.tags().len())).collect()
    }

    pub(super) async fn leases(&self, keys: &[Key]) -> Vec<Result<Leased, CacheError>> {
        let epoch = self.owed.epoch();
        if let Err(error) = self.refuse_while_owing() {
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        let wanted = keys.iter().map(|key| {
            let tags = self.tag_names(key).map(|name| (name, rand::random())).collect();
            Lease { key: self.name(key.name()), token: rand::random(), tags, epoch, seen: None }
        });
        if self.config.coherence == Coherence::Delete {
            return wanted.map(|lease| Ok(Leased::Granted(lease))).collect();
        }
        let wanted: Vec<_> = wanted.collect();
        let mut commands = Vec::with_capacity(keys.len());
        for lease in &wanted {
            let (hold, good_for) = (self.config.lease_hold, self.config.lease_ttl);
            commands.push(self.scripts.lease(&lease.key, lease.token, hold.min(good_for), good_for));
            commands.extend(lease.tags.iter().map(|(tag, fresh)| scripts::generation_or(tag, *fresh)));
        }
        let mut answers = self.call_all(commands).await;
        wanted.into_iter().map(|lease| answers.leased(lease)).collect()
    }

    /// Fills, and looks at the tags once more: a value whose tag changed during its load is stored in vain.
    ///
    /// Only what is trusted is filled: that its lease stood is taken for a proof that nothing was committed meanwhile, by all who waited for
    /// the load, and is none where the relay stands still.
    pub(super) async fn fills<'a>(
        &self,
        fills: impl Iterator<Item = (&'a Lease, &'a Bytes, Duration)> + Clone,
    ) -> Vec<Result<bool, CacheError>> {
        if self.config.coherence == Coherence::Delete {
            let tags = |lease: &Lease| lease.tags.iter().map(|(name, _)| name.clone()).collect();
            let puts = fills.map(|(lease, value, ttl)| Put { name: lease.key.clone(), tags: tags(lease), value, ttl });
            return self.put(puts.collect(), false).await;
        }
        let together = self.one_server();
        let order = Order::LooksBehind(self.lookups.clone());
        let (mut commands, mut behind) = (Vec::new(), Vec::new());
        for (lease, value, ttl) in fills.clone() {
            let generations = joined(lease.tags.iter().map(|(_, generation)| *generation));
            commands.push(self.scripts.fill(&lease.key, lease.token, value, ttl, &generations));
            // What goes to several servers at once has no order: there, another round trip.
            let looks = if together { &mut commands } else { &mut behind };
            looks.extend(lease.tags.iter().map(|(name, _)| scripts::generation(name).ordered(order.clone())));
        }
        let mut answers = self.read_all(commands).await;
        let mut now = if together { None } else { Some(self.read_all(behind).await) };
        let epoch = self.owed.epoch();
        // An invalidation that got lost since could not void the lease in Redis. Its replay will remove the value.
        fills.map(|(lease, ..)| Ok(answers.filled(now.as_mut(), lease)? && lease.epoch == epoch)).collect()
    }

    pub(super) async fn release(&self, lease: &Lease) {
        if self.config.coherence != Coherence::Delete {
            let command = self.scripts.release(&lease.key, lease.token);
            self.servers.call::<u8>(Via::Breaker, command).await.ok();
        }
    }

    pub(super) fn to_put<'a>(&self, key: &Key, value: &'a Bytes, ttl: Duration) -> Put<'a> {
        Put { name: self.name(key.name()), tags: self.tag_names(key).collect(), value, ttl }
    }

    /// Sets values in one round trip; where one is tagged, the generations are asked for in one before.
    pub(super) async fn put(&self, puts: Vec<Put<'_>>, if_absent: bool) -> Vec<Result<bool, CacheError>> {
        let fresh: Vec<Vec<u128>> = puts.iter().map(|put| put.tags.iter().map(|_| rand::random()).collect()).collect();
        let pairs = puts.iter().zip(&fresh).flat_map(|(put, fresh)| put.tags.iter().zip(fresh));
        let asked: Vec<_> = pairs.map(|(name, fresh)| scripts::generation_or(name, *fresh)).collect();
        let mut answers = self.call_all(asked).await;
        let generations: Vec<_> = fresh
            .iter()
            .map(|fresh| {
                let before = answers.generations(fresh.len())?;
                Ok(joined(before.into_iter().zip(fresh).map(|(before, fresh)| before.unwrap_or(*fresh))))
            })
            .collect();
        let mut commands: Vec<_> = puts
            .iter()
            .zip(&generations)
            .filter_map(|(put, generations)| Some((put, generations.as_ref().ok()?)))
            .map(|(put, generations)| self.scripts.set(&put.name, put.value, put.ttl, generations, if_absent))
            .collect();
        let told = self.told_of(&puts);
        let (with_it, after) = if self.one_server() { (self.announcement(&told), None) } else { (None, Some(told)) };
        let telling = with_it.is_some();
        commands.extend(with_it);
        let mut answers = self.call_all(commands).await;
        let mut done: Vec<_> = generations
            .into_iter()
            .map(|own: Result<_, CacheError>| {
                own?;
                if if_absent { answers.bits() } else { Ok(parsed::<u8>(answers.next()?)? == 1) }
            })
            .collect();
        let told = match after {
            Some(what) => self.announce(&what, Via::Breaker).await,
            None if telling => answers.next().map(|_| ()),
            None => Ok(()),
        };
        // Stored but not told: whoever has the old value does not know.
        if let Err(error) = told {
            done.iter_mut().for_each(|done| *done = Err(error.clone()));
        }
        done
    }

    fn told_of(&self, puts: &[Put<'_>]) -> Invalidation {
        let names = puts.iter().filter_map(|put| put.name.get(self.config.namespace.len()..));
        names.fold(Invalidation::new(), |told, name| told.name(name))
    }

    pub(super) async fn add(&self, key: &Key, by: i64, ttl: Duration) -> Result<i64, CacheError> {
        let command = self.scripts.add(&self.name(key.name()), by, ttl);
        self.call_all(vec![command]).await.added(by)
    }

    pub(super) async fn ttl(&self, key: &Key) -> Result<Option<Duration>, CacheError> {
        self.call_all(vec![scripts::end(self.name(key.name()))]).await.left()
    }

    pub(super) async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, CacheError> {
        let command = self.scripts.expire(&self.name(key.name()), ttl);
        self.call_all(vec![command]).await.bits()
    }
}
