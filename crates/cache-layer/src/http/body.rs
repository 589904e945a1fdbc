//! Response bodies: gathered up to a limit, or passed through.

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// A response's body behind the layer: from the cache, or what was gathered of the inner service's body and then the rest of it.
pub struct CacheBody<B: Body> {
    gathered: Option<Bytes>,
    then: Option<Ended<B::Error>>,
    rest: Option<Pin<Box<B>>>,
}

impl<B: Body> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gathered = self.gathered.as_ref().map_or(0, Bytes::len);
        f.debug_struct("CacheBody").field("gathered", &gathered).field("rest", &self.rest.is_some()).finish()
    }
}

/// Nothing in it is pinned in place.
impl<B: Body> Unpin for CacheBody<B> {}

/// How a body ended that is no plain body.
enum Ended<E> {
    Trailers(http::HeaderMap),
    Failed(E),
}

/// What gathering a body came to.
pub(super) enum Gathered<B: Body> {
    Whole(Bytes),
    /// It cannot be stored: too long, too slow, broken off, or with trailers. Nothing of it is lost.
    Not(CacheBody<B>, &'static str),
}

impl<B: Body> CacheBody<B> {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self { gathered: Some(bytes), then: None, rest: None }
    }

    pub(super) fn empty() -> Self {
        Self { gathered: None, then: None, rest: None }
    }

    pub(super) fn passed(body: B) -> Self {
        Self { gathered: None, then: None, rest: Some(Box::pin(body)) }
    }
}

impl<B: Body> Body for CacheBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(bytes) = self.gathered.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.then.take() {
            Some(Ended::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Ended::Failed(error)) => return Poll::Ready(Some(Err(error))),
            None => {}
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        rest.as_mut().poll_frame(cx).map_ok(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
    }

    fn is_end_stream(&self) -> bool {
        self.gathered.as_ref().is_none_or(Bytes::is_empty)
            && self.then.is_none()
            && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.then.is_some() {
            return SizeHint::default();
        }
        let gathered = self.gathered.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(gathered));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(gathered)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// Gathers a body of at most `limit` bytes that comes within `at_most`.
pub(super) async fn gather<B: Body>(body: B, limit: usize, at_most: Duration) -> Gathered<B> {
    let too_long = |n: u64| usize::try_from(n).map_or(true, |n| n > limit);
    if too_long(body.size_hint().lower()) {
        return Gathered::Not(CacheBody::passed(body), "too-large");
    }
    let mut body = Box::pin(body);
    let mut gathered = BytesMut::new();
    let ended = timeout(at_most, read(&mut body, &mut gathered, limit)).await;
    let (then, why) = match ended {
        Ok(End::Whole) => return Gathered::Whole(gathered.freeze()),
        Ok(End::TooLong) => (None, "too-large"),
        Ok(End::Trailers(trailers)) => (Some(Ended::Trailers(trailers)), "trailers"),
        Ok(End::Failed(error)) => (Some(Ended::Failed(error)), "body-failed"),
        Err(_) => (None, "too-slow"),
    };
    let rest = matches!(then, None | Some(Ended::Trailers(_))).then_some(body);
    Gathered::Not(CacheBody { gathered: Some(gathered.freeze()), then, rest }, why)
}

enum End<E> {
    Whole,
    TooLong,
    Trailers(http::HeaderMap),
    Failed(E),
}

/// Each frame goes into `gathered` as soon as it is there, so that this may be dropped at any time.
async fn read<B: Body>(body: &mut Pin<Box<B>>, gathered: &mut BytesMut, limit: usize) -> End<B::Error> {
    loop {
        let frame = match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => return End::Whole,
            Some(Err(error)) => return End::Failed(error),
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(mut data) => gathered.extend_from_slice(&data.copy_to_bytes(data.remaining())),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => return End::Trailers(trailers),
                Err(_) => continue,
            },
        }
        if gathered.len() > limit {
            return End::TooLong;
        }
    }
}
