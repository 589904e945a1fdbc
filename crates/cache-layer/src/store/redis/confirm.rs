//! Whether a deletion is with every replica, so that no failover brings back what it deleted.

use super::replicas::{Said, Watch};
use super::servers::{Address, Line, Server};
use super::{Inner, scripts};
use crate::store::Invalidation;
use futures_util::future::join_all;
use redis::{Pipeline, Value};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{sleep, timeout};

/// Names deleted again in one round trip; more are not confirmed.
const MOST: usize = 500;

/// Written behind each deletion, so that there is something to wait for.
const NOTE: &str = "!confirm";

/// A connection of its own to each server, for `WAIT` stops whatever else goes over its connection.
pub(super) struct Confirming {
    posts: Mutex<Vec<(Weak<Server>, SharedPost)>>,
    /// How long a replica counts that left.
    window: Duration,
    /// Somebody wants confirmations: from now on the replicas are watched.
    wanted: Notify,
}

type SharedPost = Arc<AsyncMutex<Post>>;

struct Post {
    line: Option<(Address, Line)>,
    watch: Watch,
}

impl Inner {
    /// Deletes once more, over a connection of its own, and waits until every replica has it. False where that is not known: a
    /// replica lags or has gone within the last 15 s, the server was not watched for so long, is no master any more or gave no answer in time.
    /// Patterns and more than 500 names are never confirmed.
    ///
    /// Deleting again makes it hold whichever server is the master by now: the one that confirms has carried the deletion out itself.
    pub(super) async fn confirm(&self, what: &Invalidation) -> bool {
        self.confirming.wanted.notify_one();
        if !what.patterns.is_empty() || what.keys.len() + what.tags.len() > MOST {
            return false;
        }
        let tags = what.tags.iter().map(|tag| scripts::new_generation(&scripts::tag_name(&self.config.namespace, tag)));
        let keys = what.keys.iter().map(|key| scripts::unlink(self.name(key)));
        let mut each: Vec<(Arc<Server>, Pipeline)> = Vec::new();
        for command in tags.chain(keys) {
            let server = self.servers.of(&command.key);
            let at = each.iter().position(|(known, _)| Arc::ptr_eq(known, &server)).unwrap_or_else(|| {
                each.push((server, Pipeline::new()));
                each.len() - 1
            });
            each[at].1.add_command(command.command);
        }
        let patience = self.config.command_timeout;
        let note = [self.config.namespace.as_str(), NOTE].concat();
        let confirmed = each.into_iter().map(|(server, mut pipe)| {
            let post = self.confirming.post(&server);
            // What is deleted already is not propagated again, and newer servers wait only for what a connection had propagated.
            let note = server.own_name(&note);
            async move {
                let Some(note) = note else { return false };
                pipe.cmd("SET").arg(note).arg(1).arg("PX").arg(60_000);
                // Who comes while another waits for a replica that lags is not kept waiting for long.
                let done = async { post.lock().await.confirm(&server, pipe, patience).await };
                timeout(patience * 4, done).await.unwrap_or(false)
            }
        });
        join_all(confirmed).await.into_iter().all(|confirmed| confirmed)
    }

    /// Looks at the replicas of every server again and again, once confirmations are wanted: they ask who has just left, too.
    pub(super) async fn watch_replicas(self: Arc<Self>) {
        if !self.config.watch_replicas {
            self.confirming.wanted.notified().await;
        }
        let (every, patience) = (Watch::look_every(self.confirming.window), self.config.connect_timeout);
        loop {
            let looks = self.servers.all().into_iter().map(|server| {
                let post = self.confirming.post(&server);
                async move {
                    let look = async { post.lock().await.look(&server, patience).await };
                    // What fails is asked again soon, and what is not known is not confirmed.
                    timeout(patience * 4, look).await.ok();
                }
            });
            join_all(looks).await;
            sleep(every.mul_f64(0.75 + rand::random::<f64>() / 2.0)).await;
        }
    }
}

impl Confirming {
    pub(super) fn new(window: Duration) -> Self {
        Self { posts: Mutex::default(), window, wanted: Notify::new() }
    }

    fn post(&self, server: &Arc<Server>) -> SharedPost {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.retain(|(server, _)| server.strong_count() > 0);
        if let Some((_, post)) = posts.iter().find(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(server))) {
            return Arc::clone(post);
        }
        let post = Arc::new(AsyncMutex::new(Post { line: None, watch: Watch::new(self.window) }));
        posts.push((Arc::downgrade(server), Arc::clone(&post)));
        post
    }

    /// Gives up its connections.
    pub(super) fn close(&self) {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Post {
    async fn confirm(&mut self, server: &Server, pipe: Pipeline, patience: Duration) -> bool {
        // Taken out: a connection that is left in the middle of an answer is not used again.
        let Some((at, mut line)) = self.line(server, patience * 2).await else { return false };
        let confirmed = self.ask(&at, &mut line, pipe, patience).await;
        if confirmed.is_some() {
            self.line = Some((at, line));
        }
        confirmed.unwrap_or(false)
    }

    async fn look(&mut self, server: &Server, patience: Duration) {
        let Some((at, mut line)) = self.line(server, patience).await else { return };
        if self.said(&at, &mut line, Pipeline::new(), patience).await.is_some() {
            self.line = Some((at, line));
        }
    }

    /// A connection to where the server is now.
    async fn line(&mut self, server: &Server, patience: Duration) -> Option<(Address, Line)> {
        let held = self.line.take();
        if held.as_ref().is_some_and(|(at, _)| at.to_string() == server.address()) {
            return held;
        }
        let connecting = async {
            let at = server.locate().await?;
            match held {
                Some((held_at, line)) if held_at == at => Ok((at, line)),
                _ => server.connect(&at).await.map(|line| (at, line)),
            }
        };
        timeout(patience, connecting).await.ok()?.ok()
    }

    /// `None`: the connection is not to be used again.
    async fn ask(&mut self, at: &Address, line: &mut Line, pipe: Pipeline, patience: Duration) -> Option<bool> {
        let asked = Instant::now();
        let (_, said) = self.said(at, line, pipe, patience).await?;
        if !said.in_step || !self.watch.knows_all(asked, &said) {
            return Some(false);
        }
        if said.replicas() == 0 {
            return Some(true);
        }
        let mut wait = Pipeline::new();
        let for_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1);
        wait.cmd("WAIT").arg(said.replicas()).arg(for_ms);
        let (answer, still) = self.said(at, line, wait, patience * 2).await?;
        // As many confirmed as there were, and nobody came or went: so it was each of them.
        let confirmed = usize::try_from(redis::from_redis_value::<u64>(answer?).ok()?).ok()?;
        Some(confirmed >= said.replicas() && still.same_replicas(&said))
    }

    /// Has commands carried out, then looks who is there. The answer to the last of the commands, and the look.
    async fn said(
        &mut self,
        at: &Address,
        line: &mut Line,
        mut pipe: Pipeline,
        patience: Duration,
    ) -> Option<(Option<Value>, Said)> {
        pipe.cmd("INFO").arg("server").arg("replication");
        let (asked, count) = (Instant::now(), pipe.len());
        let answers = timeout(patience, line.inner.send_packed_commands(&pipe, 0, count)).await.ok()?.ok()?;
        let answers: Result<Vec<Value>, _> = answers.into_iter().map(Value::extract_error).collect();
        let mut answers = answers.ok()?;
        let info: String = redis::from_redis_value(answers.pop()?).ok()?;
        let said = Said::parse(&info)?;
        self.watch.look(at, asked, Instant::now(), &said);
        Some((answers.pop(), said))
    }
}
