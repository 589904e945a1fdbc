use crate::store::{CacheError, CacheStore, Lease, Leased};
use bytes::Bytes;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;

/// Leases in use, alone or with what they are to be filled with. One that is neither filled nor given back when this is dropped (its
/// request was cancelled, or panicked) is given back in the background, so that the next one need not wait for it to end by itself.
pub(crate) struct Held<T: Into<Leasehold> = Lease> {
    store: Arc<dyn CacheStore>,
    items: Vec<T>,
}

/// A lease to be given back.
pub(crate) struct Leasehold(Lease);

impl From<Lease> for Leasehold {
    fn from(lease: Lease) -> Self {
        Self(lease)
    }
}

impl From<(Lease, Bytes, Duration)> for Leasehold {
    fn from((lease, ..): (Lease, Bytes, Duration)) -> Self {
        Self(lease)
    }
}

impl<T: Into<Leasehold>> Held<T> {
    pub(crate) fn new(store: &Arc<dyn CacheStore>, items: Vec<T>) -> Self {
        Self { store: Arc::clone(store), items }
    }

    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    /// Hands them over; who takes them sees to their end.
    pub(crate) fn take(mut self) -> Vec<T> {
        std::mem::take(&mut self.items)
    }

    /// What became of the fills, in the order of the leases. A lease whose fill got no answer is given back.
    pub(crate) fn filled<A>(mut self, answers: &[Result<A, CacheError>]) {
        let mut answers = answers.iter();
        self.items.retain(|_| !matches!(answers.next(), Some(Ok(_))));
    }

    /// Gives them back now.
    pub(crate) async fn release(mut self) {
        while let Some(item) = self.items.pop() {
            self.store.release(item.into().0).await;
        }
    }
}

impl<T: Into<Leasehold>> Drop for Held<T> {
    fn drop(&mut self) {
        if self.items.is_empty() {
            return;
        }
        // Without a runtime nothing can be sent; the leases end by themselves.
        let Ok(runtime) = Handle::try_current() else { return };
        let store = Arc::clone(&self.store);
        let leases: Vec<Leasehold> = self.items.drain(..).map(Into::into).collect();
        runtime.spawn(async move {
            for Leasehold(lease) in leases {
                store.release(lease).await;
            }
        });
    }
}

/// What came of asking for leases.
pub(crate) trait Answer: Send + 'static {
    /// Those that were granted.
    fn granted(self) -> Vec<Lease>;
}

impl Answer for Result<Leased, CacheError> {
    fn granted(self) -> Vec<Lease> {
        self.ok().and_then(Leased::granted).into_iter().collect()
    }
}

impl Answer for Vec<Result<Leased, CacheError>> {
    fn granted(self) -> Vec<Lease> {
        self.into_iter().flat_map(Answer::granted).collect()
    }
}

/// Asks for leases. When this is dropped before the answer is there (its request was cancelled, or has waited long enough), the answer is
/// waited for in the background, and what was granted is given back: otherwise nobody would have the leases, and everybody wait for them.
pub(crate) async fn asked<A: Answer>(store: &Arc<dyn CacheStore>, ask: impl Future<Output = A> + Send + 'static) -> A {
    let mut asking = Asking { store: Arc::clone(store), ask: Some(Box::pin(ask)) };
    poll_fn(|context| asking.poll(context)).await
}

struct Asking<A: Answer> {
    store: Arc<dyn CacheStore>,
    /// Until it has answered.
    ask: Option<Pin<Box<dyn Future<Output = A> + Send>>>,
}

impl<A: Answer> Asking<A> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<A> {
        let ask = self.ask.as_mut().expect("not polled after its answer");
        let answer = ask.as_mut().poll(context);
        if answer.is_ready() {
            self.ask = None;
        }
        answer
    }
}

impl<A: Answer> Drop for Asking<A> {
    fn drop(&mut self) {
        let (Some(ask), Ok(runtime)) = (self.ask.take(), Handle::try_current()) else { return };
        let store = Arc::clone(&self.store);
        runtime.spawn(async move { Held::new(&store, ask.await.granted()).release().await });
    }
}
