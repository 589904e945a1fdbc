use super::Shared;
use super::answer::{Asked, Origin, passed};
use super::body::CacheBody;
use super::conditions::{Validators, request_is_special, request_refuses};
use super::key::{KeyParts, only_chosen};
use super::load::{Load, Plan};
use super::rule::{Compiled, Scope};
use crate::store::Invalidation;
use http::{Method, Request, Response, StatusCode, request};
use http_body::Body;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::{JoinError, JoinHandle};
use tower_service::Service;
use tracing::Instrument;

/// The service that [`super::HttpCacheLayer`] makes of another.
#[derive(Clone, Debug)]
pub struct HttpCache<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

/// What is to be done with a request.
enum Way {
    Pass(Origin),
    Write(Invalidation),
    Read(Box<Plan>),
}

impl<S, A, B> Service<Request<A>> for HttpCache<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Body + Send + 'static,
    B: Body + Send + 'static,
    B::Error: Send,
{
    type Response = Response<CacheBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // The one that was polled ready is the one to be called.
        let spare = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, spare);
        let shared = Arc::clone(&self.shared);
        let (mut parts, body) = request.into_parts();
        let way = shared.way(&mut parts, body.is_end_stream());
        let request = Request::from_parts(parts, body);
        match way {
            Way::Pass(origin) => Box::pin(async move { pass(inner, request, origin, &shared).await }),
            // In tasks of their own: a client that hangs up neither stops a write before its invalidation nor a load before its fill.
            Way::Write(what) => {
                let task = tokio::spawn(write(inner, request, what, shared).in_current_span());
                Box::pin(finished(task))
            }
            Way::Read(plan) => {
                let load = Load::new(shared, *plan, inner, request);
                let task = tokio::spawn(load.answer().in_current_span());
                Box::pin(finished(task))
            }
        }
    }
}

impl Shared {
    fn way(&self, request: &mut request::Parts, no_body: bool) -> Way {
        let path = request.uri.path();
        let passing = |fwd, detail| Way::Pass(Origin::Passed { fwd, detail });
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let safe = matches!(request.method, Method::OPTIONS | Method::TRACE);
            let writes = self.writes.iter().filter(|_| !safe);
            let what = writes.fold(Invalidation::new(), |what, rule| rule.add(&request.method, path, what));
            return if what == Invalidation::new() { passing("method", None) } else { Way::Write(what) };
        }
        let found = self.rules.iter().enumerate();
        let Some((at, captures)) = found.filter_map(|(at, rule)| Some((at, rule.captures(path)?))).next() else {
            return passing("bypass", Some("no-rule"));
        };
        let compiled = &self.rules[at];
        let tags = compiled.tags(&captures, request);
        match self.identity(compiled, request) {
            _ if !no_body => passing("bypass", Some("request-body")),
            Err(why) => passing("bypass", Some(why)),
            Ok(identity) => {
                if let Some(why) = request_is_special(&request.headers) {
                    return passing("bypass", Some(why));
                }
                if let Some(why) = request_refuses(&request.headers, compiled.rule.obey_no_cache) {
                    return passing("request", Some(why));
                }
                if compiled.rule.skip_if.as_ref().is_some_and(|skip| skip(request)) {
                    return passing("bypass", Some("skipped"));
                }
                if let Some(chosen) = &compiled.rule.query {
                    match only_chosen(&request.uri, chosen) {
                        Some(uri) => request.uri = uri,
                        None => return passing("bypass", Some("address")),
                    }
                }
                let key = KeyParts::new(compiled, request, identity.as_deref(), tags);
                let head = request.method == Method::HEAD;
                request.method = Method::GET;
                let asked = Asked { head, validators: Validators::take(&mut request.headers) };
                Way::Read(Box::new(Plan { at, key, asked, private: identity.is_some() }))
            }
        }
    }

    /// Whose the answer is: nobody's in particular, or a user's; or why it cannot be cached.
    fn identity(&self, compiled: &Compiled, request: &request::Parts) -> Result<Option<String>, &'static str> {
        match &compiled.rule.scope {
            Scope::Never => Err("never"),
            Scope::PerUser(identity) => identity.of(request).map(Some).ok_or("no-identity"),
            Scope::Shared => {
                let credentials = self.credentials.iter().any(|name| request.headers.contains_key(name));
                if credentials && !compiled.rule.despite_credentials { Err("credentials") } else { Ok(None) }
            }
        }
    }
}

async fn pass<S, A, B>(
    mut inner: S,
    request: Request<A>,
    origin: Origin,
    shared: &Shared,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body,
{
    let response = inner.call(request).await?.map(CacheBody::passed);
    Ok(passed(response, false, origin, &shared.name))
}

async fn write<S, A, B>(
    mut inner: S,
    request: Request<A>,
    what: Invalidation,
    shared: Arc<Shared>,
) -> Result<Response<CacheBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Send + 'static,
    B: Body + Send + 'static,
{
    // Once more a task: should the service panic, what it had committed is invalidated nevertheless.
    let written = tokio::spawn(async move { inner.call(request).await }.in_current_span()).await;
    if !matches!(&written, Ok(Ok(response)) if response.status().is_client_error()) {
        shared.cache.invalidate(&what).await;
    }
    let origin = Origin::Passed { fwd: "method", detail: None };
    match unwound(written) {
        Some(response) => Ok(passed(response?.map(CacheBody::passed), false, origin, &shared.name)),
        None => Ok(shutting_down()),
    }
}

async fn finished<B: Body, E>(
    task: JoinHandle<Result<Response<CacheBody<B>>, E>>,
) -> Result<Response<CacheBody<B>>, E> {
    unwound(task.await).unwrap_or_else(|| Ok(shutting_down()))
}

/// What a task came to. A panic goes on here; `None`: the runtime ends.
fn unwound<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(result) => Some(result),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

fn shutting_down<B: Body>() -> Response<CacheBody<B>> {
    let mut response = Response::new(CacheBody::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
