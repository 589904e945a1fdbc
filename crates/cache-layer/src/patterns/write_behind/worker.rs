use super::queue::Queue;
use super::{Entry, Sink, WriteBehindConfig, key};
use crate::backoff::Backoff;
use crate::cache::Cache;
use crate::key::KeyClass;
use crate::store::Invalidation;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Takes batches out of the queue and gives them to the sink, for ever.
pub(super) struct Worker<T, S> {
    pub(super) cache: Cache,
    pub(super) class: KeyClass,
    pub(super) queue: Arc<Queue<T>>,
    pub(super) sink: Arc<S>,
    pub(super) config: WriteBehindConfig,
}

/// Why a batch was not written.
enum Trouble<E> {
    /// As far as is known it may be at the next try.
    Away(String),
    /// The database does not want it.
    Refused(E),
}

/// An entry that is refused by itself so often is given up.
const REFUSALS: u32 = 3;

impl<T: Send + Sync + 'static, S: Sink<T>> Worker<T, S> {
    pub(super) async fn run(self) {
        let sink = Arc::clone(&self.sink);
        let metrics = &self.cache.inner.metrics;
        let mut backoff = Backoff::new(self.config.backoff, self.config.backoff_at_most);
        let (mut away, mut refusals) = (false, 0);
        let batch_at_most = self.config.batch.max(1);
        // Smaller while what is refused is looked for.
        let mut at_most = batch_at_most;
        loop {
            gathered(&self.queue, &self.config).await;
            let batch: Arc<[Entry<T>]> = self.queue.take(at_most).into();
            let trouble = match write(&sink, &batch, &self.config).await {
                Ok(()) => {
                    if std::mem::take(&mut away) {
                        tracing::info!(class = self.class.name, "write-behind: the database takes writes again");
                    }
                    metrics.write_behind_batch(self.class, "written");
                    self.landed().await;
                    (refusals, at_most) = (0, at_most.saturating_mul(2).min(batch_at_most));
                    backoff.reset();
                    continue;
                }
                Err(trouble) => trouble,
            };
            match (trouble, &*batch) {
                (Trouble::Refused(error), [entry]) if refusals + 1 >= REFUSALS => {
                    metrics.write_behind_batch(self.class, "refused");
                    sink.refused(entry, error).await;
                    self.landed().await;
                    (refusals, at_most) = (0, at_most.saturating_mul(2).min(batch_at_most));
                    backoff.reset();
                    continue;
                }
                (Trouble::Refused(_), [_]) => refusals += 1,
                (Trouble::Refused(_), _) => {
                    // What is put back stands in front: the next batch is the first half of this one.
                    at_most = (batch.len() / 2).max(1);
                    metrics.write_behind_batch(self.class, "failed");
                    self.queue.back(&batch);
                    continue;
                }
                (Trouble::Away(why), _) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(class = self.class.name, %why, "write-behind: the database takes no writes; trying on");
                    }
                }
            }
            metrics.write_behind_batch(self.class, "failed");
            self.queue.back(&batch);
            sleep(backoff.next_wait()).await;
        }
    }

    /// The batch is done with. What readers find from now on comes from the database, whoever wrote it last.
    async fn landed(&self) {
        let keys = self.queue.settled();
        let what = keys.iter().map(|id| key(self.class, id));
        self.cache.invalidate(&what.fold(Invalidation::new(), |what, key| what.key(&key))).await;
        self.queue.landed();
        self.cache.inner.metrics.write_behind_pending(self.class, self.queue.len());
    }
}

/// Waits for the first entry, and then a moment for others; not at the end, and not for more than one batch.
async fn gathered<T>(queue: &Queue<T>, config: &WriteBehindConfig) {
    while queue.waiting() == 0 {
        queue.changed.notified().await;
    }
    let enough = async {
        while queue.waiting() < config.batch && !queue.is_closed() {
            queue.changed.notified().await;
        }
    };
    timeout(config.pause, enough).await.ok();
}

/// One try. In a task of its own, so that a sink that panics does not end the worker; stopped when it takes too long, or with the worker.
async fn write<T: Send + Sync + 'static, S: Sink<T>>(
    sink: &Arc<S>,
    batch: &Arc<[Entry<T>]>,
    config: &WriteBehindConfig,
) -> Result<(), Trouble<S::Error>> {
    let mut trial = JoinSet::new();
    let (sink, batch) = (Arc::clone(sink), Arc::clone(batch));
    trial.spawn(async move {
        let sorted =
            |error| if sink.is_refusal(&error) { Trouble::Refused(error) } else { Trouble::Away(error.to_string()) };
        sink.write(&batch).await.map_err(sorted)
    });
    match timeout(config.write_timeout, trial.join_next()).await {
        Ok(Some(Ok(result))) => result,
        Ok(Some(Err(stopped))) => Err(Trouble::Away(stopped.to_string())),
        Ok(None) => Err(Trouble::Away("nothing was tried".into())),
        Err(_) => Err(Trouble::Away("it took too long".into())),
    }
}
