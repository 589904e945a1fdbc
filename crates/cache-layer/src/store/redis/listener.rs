//! Hears what other processes delete.
//!
//! A connection of its own, to the server that all processes publish on: what is published there and then a ping are answered in this order,
//! so an answered ping proves that all news from before it are heard. In a cluster that server is the one that owns the channel's slot; a
//! subscriber elsewhere would depend on the cluster bus, which loses messages without a word.

use super::Inner;
use crate::backoff::Backoff;
use crate::store::news;
use crate::store::two_tier::{Feed, Local, TwoTierConfig};
use futures_util::{FutureExt, Stream, StreamExt};
use redis::Msg;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::{sleep, timeout};

/// Listens for one first tier.
pub(in crate::store) struct Listener {
    pub(super) inner: Arc<Inner>,
}

/// Why a subscription ended; for the log.
struct Ended(String);

impl<E: std::fmt::Display> From<E> for Ended {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Listener {
    /// Does not end. When the subscription does, the tier has lost its news until there is another.
    pub(in crate::store) async fn listen(&self, local: &Local, config: &TwoTierConfig) {
        let mut backoff = Backoff::new(self.inner.config.backoff, self.inner.config.backoff_at_most);
        let mut came_up = self.inner.servers.came_up();
        let mut heard = false;
        loop {
            came_up.mark_unchanged();
            let Err(Ended(why)) = self.subscription(local, config, &mut heard).await;
            local_lost(local, config);
            if std::mem::take(&mut heard) {
                tracing::warn!(why, "lost the news of other processes; the first tier is not used until they are back");
                backoff.reset();
            } else {
                tracing::debug!(why, "no news of other processes yet");
            }
            tokio::select! {
                () = sleep(backoff.next_wait()) => {}
                _ = came_up.changed() => {}
            }
        }
    }

    /// One subscription from its beginning to its end.
    async fn subscription(
        &self,
        local: &Local,
        config: &TwoTierConfig,
        heard: &mut bool,
    ) -> Result<std::convert::Infallible, Ended> {
        let patience = self.inner.config.connect_timeout.min(config.news_good_for);
        let channel = self.inner.channel();
        let server = self.inner.servers.of(&channel);
        let (subscription, at) = timeout(patience, server.pubsub()).await??;
        let (at, (mut sink, mut stream)) = (at.to_string(), subscription.split());
        timeout(patience, sink.subscribe(&channel)).await??;
        loop {
            let asked = Instant::now();
            let ping = timeout(patience, sink.ping::<redis::Value>());
            let pong = hear_until(&mut stream, local, ping).await?;
            pong??;
            // The answer may have overtaken, in this process, what came before it on the connection.
            while let Some(message) = stream.next().now_or_never() {
                take(local, message)?;
            }
            if self.inner.servers.of(&channel).address() != at {
                return Err(Ended("another server is to be listened to".into()));
            }
            if config.feed == Feed::PubSub {
                local.alive(Some(asked + config.news_good_for));
            }
            if !std::mem::replace(heard, true) {
                tracing::info!(server = at, "hearing the news of other processes; the first tier is used");
            }
            hear_until(&mut stream, local, sleep(config.news_good_for / 4)).await?;
        }
    }
}

fn local_lost(local: &Local, config: &TwoTierConfig) {
    if config.feed == Feed::PubSub {
        local.lost();
    }
}

/// Takes in the news until something else is done.
async fn hear_until<T>(
    stream: &mut (impl Stream<Item = Msg> + Unpin),
    local: &Local,
    done: impl Future<Output = T>,
) -> Result<T, Ended> {
    tokio::pin!(done);
    loop {
        tokio::select! {
            biased;
            message = stream.next() => take(local, message)?,
            output = &mut done => return Ok(output),
        }
    }
}

fn take(local: &Local, message: Option<Msg>) -> Result<(), Ended> {
    let message = message.ok_or_else(|| Ended("the connection broke".into()))?;
    match news::from_message(message.get_payload_bytes()) {
        Some(what) => local.forget(&what),
        None => local.forget_everything(),
    }
    Ok(())
}
