//! Looking at keys and removing them.

use super::Desk;
use super::access::Who;
use super::problem::{Body, Name, Params, Problem, fit, fit_pattern};
use crate::cache::{Cache, Invalidated};
use crate::key::Tag;
use crate::store::{CacheError, Invalidation, Kept, Peeked};
use crate::value::{self, Envelope};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// The longest pass over the names of the servers.
const PASS: Duration = Duration::from_secs(30);

/// Keys removed in one go.
const BATCH: usize = 500;

/// The most names in one answer.
const LIST_AT_MOST: usize = 1_000;

/// The most keys that go with one `clear`.
const CLEAR_AT_MOST: usize = 100_000;

/// The most keys and tags in one `invalidate`.
const INVALIDATE_AT_MOST: usize = 1_000;

/// The largest value that is shown, in bytes.
const SHOWN_AT_MOST: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListWhat {
    pattern: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookHow {
    #[serde(default)]
    value: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearWhat {
    pattern: String,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InvalidateWhat {
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    keys: Vec<String>,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Removed {
    removed: u64,
    /// Nothing that matched is left out.
    complete: bool,
    /// The cache did not confirm it.
    owed: bool,
}

type RemovedAnswer = Result<(StatusCode, Json<Removed>), Problem>;

pub(super) async fn list(State(desk): State<Desk>, Params(what): Params<ListWhat>) -> Result<Json<Value>, Problem> {
    let pattern = what.pattern.unwrap_or_else(|| "*".into());
    fit_pattern(&pattern)?;
    let limit = limited(what.limit, 100, LIST_AT_MOST)?;
    let _pass = pass(&desk)?;
    let mut keys = scan(&desk.cache, &pattern, limit + 1).await?;
    let complete = keys.len() <= limit;
    keys.truncate(limit);
    keys.sort_unstable();
    Ok(Json(json!({ "keys": keys, "complete": complete })))
}

pub(super) async fn look(
    State(desk): State<Desk>,
    Extension(Who(who)): Extension<Who>,
    Name(name): Name,
    Params(how): Params<LookHow>,
) -> Result<Json<Value>, Problem> {
    let found = desk.cache.peek(&name).await?;
    if how.value {
        // Values may be about people: who looked at which is written down, too.
        tracing::info!(target: "cache_layer::audit", who, key = ?name, "look at value");
    }
    let found = found.ok_or_else(|| Problem::not_found("there is no such key"))?;
    Ok(Json(shown(&name, found, how.value)))
}

pub(super) async fn delete(
    State(desk): State<Desk>,
    Extension(Who(who)): Extension<Who>,
    Name(name): Name,
) -> RemovedAnswer {
    let what = Invalidation::new().name(name.clone());
    let audit = move |removed: &Removed| {
        tracing::info!(target: "cache_layer::audit", who, key = ?name, removed = removed.removed, owed = removed.owed, "delete");
    };
    Ok(answer(remove(desk.cache, what, audit).await?))
}

pub(super) async fn invalidate(
    State(desk): State<Desk>,
    Extension(Who(who)): Extension<Who>,
    Body(what): Body<InvalidateWhat>,
) -> RemovedAnswer {
    let count = what.tags.len() + what.keys.len();
    if count == 0 || count > INVALIDATE_AT_MOST {
        return Err(Problem::bad_request(format!("name 1 to {INVALIDATE_AT_MOST} `tags` and `keys`")));
    }
    what.tags.iter().chain(&what.keys).try_for_each(|name| fit(name))?;
    let tagged = what.tags.iter().fold(Invalidation::new(), |all, tag| all.tag(Tag::new(tag.clone())));
    let all = what.keys.iter().fold(tagged, |all, key| all.name(key.clone()));
    let audit = move |removed: &Removed| {
        let (tags, keys) = (&what.tags, what.keys.len());
        tracing::info!(target: "cache_layer::audit", who, ?tags, keys, removed = removed.removed, owed = removed.owed, "invalidate");
    };
    Ok(answer(remove(desk.cache, all, audit).await?))
}

pub(super) async fn clear(
    State(desk): State<Desk>,
    Extension(Who(who)): Extension<Who>,
    Body(what): Body<ClearWhat>,
) -> RemovedAnswer {
    fit_pattern(&what.pattern)?;
    let limit = limited(what.limit, 10_000, CLEAR_AT_MOST)?;
    let pass = pass(&desk)?;
    // Begun is done, also when the client goes away: half a clear that nobody knows of helps nobody.
    let pattern = what.pattern;
    let done = tokio::spawn(async move {
        let _pass = pass;
        let removed = if is_everything(&pattern) {
            // Cut off it would be a lost invalidation, and begin anew.
            Ok(clear_everything(&desk.cache).await)
        } else {
            let clearing = timeout(PASS, clear_matching(&desk.cache, &pattern, limit)).await;
            clearing.unwrap_or_else(|_| Err(Problem::took_too_long()))
        };
        match &removed {
            Ok(Removed { removed, complete, owed }) => {
                tracing::info!(target: "cache_layer::audit", who, ?pattern, removed, complete, owed, "clear");
            }
            Err(problem) => tracing::info!(target: "cache_layer::audit", who, ?pattern, ?problem, "clear"),
        }
        removed
    });
    let Ok(done) = timeout(PASS + PASS / 4, done).await else {
        // It goes on.
        return Ok(answer(Removed { removed: 0, complete: false, owed: true }));
    };
    done.unwrap_or_else(|_| Err(CacheError::Unavailable("it broke off").into())).map(answer)
}

fn is_everything(pattern: &str) -> bool {
    pattern.bytes().all(|byte| byte == b'*')
}

/// By the store, which knows what that is.
async fn clear_everything(cache: &Cache) -> Removed {
    match cache.clear().await {
        Ok(removed) => Removed { removed, complete: true, owed: false },
        Err(_) => Removed { removed: 0, complete: false, owed: true },
    }
}

/// What is not everything is looked up first and then removed by name, so that a pass that takes longer than a request may is
/// not taken for a lost invalidation.
async fn clear_matching(cache: &Cache, pattern: &str, limit: usize) -> Result<Removed, Problem> {
    let mut names = scan(cache, pattern, limit + 1).await?;
    let complete = names.len() <= limit;
    names.truncate(limit);
    let mut sum = Removed { removed: 0, complete, owed: false };
    for batch in names.chunks(BATCH) {
        let all = batch.iter().fold(Invalidation::new(), |all, name| all.name(name.clone()));
        match cache.invalidate(&all).await {
            Invalidated::Done(removed) => sum.removed += removed,
            // More would be owed in vain: the cache is not reached.
            Invalidated::Owed => return Ok(Removed { complete: false, owed: true, ..sum }),
        }
    }
    Ok(sum)
}

async fn scan(cache: &Cache, pattern: &str, at_most: usize) -> Result<Vec<String>, Problem> {
    let names = timeout(PASS, cache.store().scan(pattern, at_most)).await.map_err(|_| Problem::took_too_long())?;
    Ok(names?)
}

/// As a task of its own: a client that goes away cuts off neither the removal nor its line in the audit log.
async fn remove(
    cache: Cache,
    what: Invalidation,
    audit: impl FnOnce(&Removed) + Send + 'static,
) -> Result<Removed, Problem> {
    let removing = tokio::spawn(async move {
        let removed = match cache.invalidate(&what).await {
            Invalidated::Done(removed) => Removed { removed, complete: true, owed: false },
            Invalidated::Owed => Removed { removed: 0, complete: false, owed: true },
        };
        audit(&removed);
        removed
    });
    Ok(removing.await.map_err(|_| CacheError::Unavailable("it broke off"))?)
}

fn answer(removed: Removed) -> (StatusCode, Json<Removed>) {
    let status = if removed.owed { StatusCode::ACCEPTED } else { StatusCode::OK };
    (status, Json(removed))
}

fn pass(desk: &Desk) -> Result<OwnedSemaphorePermit, Problem> {
    let passes = desk.passes.clone().try_acquire_owned();
    passes.map_err(|_| Problem::busy("others are going over the keys already: try again when they are done"))
}

fn limited(wanted: Option<usize>, default: usize, at_most: usize) -> Result<usize, Problem> {
    match wanted {
        None => Ok(default),
        Some(limit) if (1..=at_most).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad_request(format!("`limit` is 1 to {at_most}"))),
    }
}

fn shown(name: &str, found: Peeked, with_value: bool) -> Value {
    let mut out = json!({ "key": name, "ttl_seconds": found.ttl.as_secs_f64(), "tags": found.tags });
    let bytes = match found.value {
        Kept::Count(count) => {
            out["kind"] = "counter".into();
            out["count"] = count.into();
            return out;
        }
        Kept::Bytes(bytes) => bytes,
    };
    out["kind"] = "value".into();
    out["stored_bytes"] = bytes.len().into();
    if bytes.first() == Some(&value::SEALED) {
        // Whoever may look at keys need not be allowed to read what is encrypted.
        out["kind"] = "sealed".into();
        return out;
    }
    let body = match Envelope::decode(bytes.clone()) {
        Ok(envelope) => {
            let now = now_ms();
            out["age_seconds"] = envelope.age(now).as_secs_f64().into();
            out["load_ms"] = envelope.load_ms.into();
            out["fresh"] = envelope.is_fresh(now).into();
            match envelope.body {
                value::Body::Present(bytes) => bytes,
                value::Body::Absent => {
                    out["kind"] = "absent".into();
                    return out;
                }
            }
        }
        // Not put there by `Cache`, or by another version of it.
        Err(_) => bytes,
    };
    out["bytes"] = body.len().into();
    if with_value {
        show_value(&mut out, &body);
    }
    out
}

fn show_value(out: &mut Value, body: &[u8]) {
    let (encoding, value) = if body.len() > SHOWN_AT_MOST {
        ("too large", Value::Null)
    } else if let Ok(value) = serde_json::from_slice(body) {
        ("json", value)
    } else if let Ok(text) = std::str::from_utf8(body) {
        ("text", text.into())
    } else {
        ("base64", STANDARD.encode(body).into())
    };
    out["encoding"] = encoding.into();
    out["value"] = value;
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
