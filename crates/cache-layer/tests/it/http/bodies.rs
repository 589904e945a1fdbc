//! Bodies that end otherwise than at their end.

use super::*;
use http_body::Frame;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

enum Step {
    Data(&'static str),
    Trailers,
    Fail,
    Forever,
}

/// A body of one step a frame.
struct Steps(VecDeque<Step>);

impl http_body::Body for Steps {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        if let Some(Step::Forever) = self.0.front() {
            return Poll::Pending;
        }
        Poll::Ready(self.0.pop_front().map(|step| match step {
            Step::Data(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            Step::Trailers => Ok(Frame::trailers(HeaderMap::new())),
            Step::Fail | Step::Forever => Err(std::io::Error::other("broken")),
        }))
    }
}

/// The frames of an answer: texts, `trailers`, `failed`, or `pending` where it stops.
async fn frames(app: &Router, path: &str) -> (String, Vec<String>) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let answer = app.clone().oneshot(request).await.expect("infallible");
    let status = answer.headers()["cache-status"].to_str().expect("text").to_owned();
    let mut body = Box::pin(answer.into_body());
    let mut frames = Vec::new();
    loop {
        let next = std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx));
        frames.push(match tokio::time::timeout(Duration::from_millis(200), next).await {
            Err(_) => "pending".to_owned(),
            Ok(None) => return (status, frames),
            Ok(Some(Err(_))) => "failed".to_owned(),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => String::from_utf8(data.to_vec()).expect("text"),
                Err(_) => "trailers".to_owned(),
            },
        });
        if frames.last().is_some_and(|last| last == "pending") {
            return (status, frames);
        }
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_stored_lose_nothing() {
    let cache = CacheConfig::memory().open(Metrics::default()).expect("a cache");
    let handler = async |Path(kind): Path<String>| {
        let steps = match kind.as_str() {
            "long" => vec![Step::Data("abcd"), Step::Data("efgh"), Step::Data("ijkl")],
            "broken" => vec![Step::Data("abc"), Step::Fail],
            "trailers" => vec![Step::Data("abc"), Step::Trailers],
            "slow" => vec![Step::Data("abc"), Step::Forever],
            "events" => vec![Step::Data("a"), Step::Data("b"), Step::Forever],
            _ => vec![Step::Data("ab"), Step::Data("cd")],
        };
        let kind = if kind == "events" { "text/event-stream" } else { "text/plain" };
        ([("content-type", kind)], Body::new(Steps(steps.into()))).into_response()
    };
    let rule = Rule::get("/{kind}", MINUTE).body_limit(6).body_within(Duration::from_millis(50));
    let app = Router::new().route("/{kind}", get(handler)).layer(layer(&cache, [rule]));
    let unstored = |why: &str| format!("cache-layer; fwd=uri-miss; detail={why}");
    for (kind, why, wanted) in [
        ("long", "too-large", &["abcdefgh", "ijkl"][..]),
        ("broken", "body-failed", &["abc", "failed"]),
        ("trailers", "trailers", &["abc", "trailers"]),
        ("slow", "too-slow", &["abc", "pending"]),
        ("events", "event-stream", &["a", "b", "pending"]),
    ] {
        let (status, frames) = frames(&app, &format!("/{kind}")).await;
        assert_eq!((status, frames.iter().map(String::as_str).collect::<Vec<_>>()), (unstored(why), wanted.to_vec()));
    }
    assert_eq!(frames(&app, "/plain").await, ("cache-layer; fwd=uri-miss; stored".to_owned(), vec!["abcd".to_owned()]));
    assert!(read(&app, "/plain").await.is_hit());
}
