//! One request that the cache may answer.

use super::Shared;
use super::answer::{Asked, Origin, from_record, passed};
use super::body::{CacheBody, Gathered, gather};
use super::conditions::{answer_allows, answer_refuses, varies_by};
use super::key::{ALWAYS, KeyParts};
use super::record::{Record, Stored, VARY_AT_MOST};
use super::rule::{Compiled, Scope};
use crate::cache::{LoadError, Lookup, Status, Ttl};
use crate::key::Key;
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, response};
use http_body::Body;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tower_service::Service;

/// What was found out about a request before anything was asked.
pub(super) struct Plan {
    /// The rule's place in the list.
    pub(super) at: usize,
    pub(super) key: KeyParts,
    pub(super) asked: Asked,
    /// The answer is one user's.
    pub(super) private: bool,
}

pub(super) struct Load<S, A, B: Body> {
    shared: Arc<Shared>,
    plan: Plan,
    /// The service and the request, until it is called. Once at most.
    pending: Mutex<Option<(S, Request<A>)>>,
    loaded: Mutex<Option<Loaded<B>>>,
}

/// An answer of the service that is not stored under the key it was loaded for.
enum Loaded<B: Body> {
    Whole(Stored, &'static str),
    Passed(Response<CacheBody<B>>, &'static str),
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl<S, A, B> Load<S, A, B>
where
    S: Service<Request<A>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Send + 'static,
    B: Body + Send + 'static,
    B::Error: Send,
{
    pub(super) fn new(shared: Arc<Shared>, plan: Plan, inner: S, request: Request<A>) -> Self {
        Self { shared, plan, pending: Mutex::new(Some((inner, request))), loaded: Mutex::new(None) }
    }

    fn compiled(&self) -> &Compiled {
        &self.shared.rules[self.plan.at]
    }

    pub(super) async fn answer(self) -> Result<Response<CacheBody<B>>, S::Error> {
        let mut varies: Vec<HeaderName> = Vec::new();
        let primary = self.key(&varies);
        loop {
            let key = self.key(&varies);
            let Some(lookup) = self.look_up(&key, &varies).await? else { return Ok(self.given_up()) };
            let variant = !varies.is_empty();
            let asked = |detail| Origin::Asked { status: lookup.status, variant, detail };
            match take(&self.loaded) {
                Some(Loaded::Whole(stored, why)) => return Ok(self.record(stored, asked(Some(why)))),
                Some(Loaded::Passed(response, why)) => {
                    if variant && why == "vary" {
                        // What the answers of this resource vary by has changed: it is found out anew.
                        self.forget(&primary).await;
                    }
                    return Ok(passed(response, self.plan.asked.head, asked(Some(why)), &self.shared.name));
                }
                None => {}
            }
            let Some(value) = lookup.value else { return self.alone(asked(Some("not-shared"))).await };
            match (Record::decode(value), lookup.status) {
                (Some(Record::Response(stored)), Status::Hit { ttl }) => {
                    let left = stored.left();
                    if left.is_zero() {
                        self.forget(&key).await;
                        return self.alone(Origin::Passed { fwd: "stale", detail: None }).await;
                    }
                    return Ok(self.record(stored, Origin::Hit(ttl.min(left))));
                }
                (Some(Record::Response(stored)), status) => {
                    self.shorten(&key, &stored, status).await;
                    return Ok(self.record(stored, asked(None)));
                }
                (Some(Record::Varies(names)), _) if !variant && !names.is_empty() => varies = names,
                (Some(Record::Varies(_)) | None, _) => {
                    self.shared.warn_of_garbage(&key);
                    self.forget(&key).await;
                    return self.alone(asked(Some("garbled"))).await;
                }
            }
        }
    }

    fn key(&self, varies: &[HeaderName]) -> Key {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let none = http::HeaderMap::new();
        let headers = pending.as_ref().map_or(&none, |(_, request)| request.headers());
        self.plan.key.key(self.compiled(), varies, headers)
    }

    fn record(&self, stored: Stored, origin: Origin) -> Response<CacheBody<B>> {
        from_record(stored, &self.plan.asked, origin, &self.shared.name)
    }

    /// `None`: the cache neither had it nor let it be loaded to the end.
    async fn look_up(&self, key: &Key, known: &[HeaderName]) -> Result<Option<Lookup>, S::Error> {
        match self.shared.cache.get_or_load(key, Ttl::Class, || self.load(known)).await {
            Ok(lookup) => Ok(Some(lookup)),
            Err(LoadError::Failed(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// 504 after a load that took too long, 503 where the service was not asked, for too many loads are going on.
    fn given_up(&self) -> Response<CacheBody<B>> {
        let (status, detail) = match take(&self.pending) {
            Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            None => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
        };
        let mut response = Response::new(CacheBody::empty());
        *response.status_mut() = status;
        let origin = Origin::Passed { fwd: "miss", detail: Some(detail) };
        passed(response, self.plan.asked.head, origin, &self.shared.name)
    }

    /// Asks the service. `None`: the answer is not to be stored, and waits in [`Load::loaded`].
    async fn load(&self, known: &[HeaderName]) -> Result<Option<Bytes>, S::Error> {
        let Some((mut inner, request)) = take(&self.pending) else { return Ok(None) };
        let (parts, body) = inner.call(request).await?.into_parts();
        drop(inner);
        let rule = &self.compiled().rule;
        let (life, varies) = match self.may_store(&parts, known) {
            Ok(may) => may,
            Err(why) => return Ok(self.not(Response::from_parts(parts, CacheBody::passed(body)), why)),
        };
        let body = match gather(body, rule.limit, rule.within).await {
            Gathered::Whole(body) => body,
            Gathered::Not(body, why) => return Ok(self.not(Response::from_parts(parts, body), why)),
        };
        let stored = Stored::new(&parts, body, life, self.plan.private);
        let (record, why) = if varies.is_empty() {
            (Record::Response(stored), "too-large")
        } else {
            self.set(Loaded::Whole(stored, "vary"));
            (Record::Varies(varies), "vary")
        };
        let encoded = record.encode();
        if let (None, Record::Response(stored)) = (&encoded, record) {
            self.set(Loaded::Whole(stored, why));
        }
        Ok(encoded)
    }

    fn set(&self, loaded: Loaded<B>) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }

    fn not(&self, response: Response<CacheBody<B>>, why: &'static str) -> Option<Bytes> {
        self.set(Loaded::Passed(response, why));
        None
    }

    /// For how long an answer may be stored, and what it varies by that its key does not know; or why it may not.
    fn may_store(
        &self,
        answer: &response::Parts,
        known: &[HeaderName],
    ) -> Result<(Duration, Vec<HeaderName>), &'static str> {
        let (rule, private) = (&self.compiled().rule, self.plan.private);
        let absent = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) && !rule.absent_for.is_zero();
        let ttl = match rule.statuses.contains(&answer.status) {
            _ if absent => rule.absent_for.min(rule.class.ttl),
            true => rule.class.ttl,
            false => return Err("status"),
        };
        if let Some(why) = answer_refuses(&answer.headers, private) {
            return Err(why);
        }
        if rule.store_if.as_ref().is_some_and(|store| !store(answer)) {
            return Err("skipped");
        }
        let life = answer_allows(&answer.headers, private).map_or(ttl, |allowed| allowed.min(ttl));
        if life.is_zero() {
            return Err("no-life");
        }
        let mut varies = varies_by(&answer.headers)?;
        varies.retain(|name| !ALWAYS.contains(name) && !rule.headers.contains(name) && !known.contains(name));
        if matches!(rule.scope, Scope::Shared) && !rule.despite_credentials {
            // No request that gets here has any.
            varies.retain(|name| !self.shared.credentials.contains(name));
        }
        if varies.len() > VARY_AT_MOST || !(known.is_empty() || varies.is_empty()) {
            return Err("vary");
        }
        Ok((life, varies))
    }

    /// The service's own answer, unstored: for a request that may not share what another one loaded.
    async fn alone(&self, origin: Origin) -> Result<Response<CacheBody<B>>, S::Error> {
        let (head, name) = (self.plan.asked.head, &self.shared.name);
        let response = match take(&self.pending) {
            Some((mut inner, request)) => inner.call(request).await?.map(CacheBody::passed),
            None => {
                // The load was given up (a hard timeout of the class).
                let mut response = Response::new(CacheBody::empty());
                *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                response
            }
        };
        Ok(passed(response, head, origin, name))
    }

    /// An answer that lives shorter than its rule says is stored for as long as the rule says and shortened then; should this get lost,
    /// its own end is in the record.
    async fn shorten(&self, key: &Key, stored: &Stored, status: Status) {
        let (left, ttl) = (stored.left(), self.compiled().rule.class.ttl);
        let shorter = left + Duration::from_secs(1) < ttl;
        if shorter && matches!(status, Status::Miss { stored: true, collapsed: false }) {
            self.shared.cache.store().expire(key, left.max(Duration::from_millis(1))).await.ok();
        }
    }

    /// Lets a useless entry end. Not by a deletion, which would be owed if it failed.
    async fn forget(&self, key: &Key) {
        self.shared.cache.store().expire(key, Duration::from_millis(1)).await.ok();
    }
}
