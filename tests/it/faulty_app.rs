//! A small app in this process, whose cache has one chosen defect.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The defects.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheDefects {
    /// The TTL of cached answers; `None`: they never expire.
    pub ttl: Option<Duration>,
    /// How long after a write its item is invalidated; `None`: never.
    pub invalidation_delay: Option<Duration>,
    /// Reads of the database miss the latest write.
    pub source_lags: bool,
    /// "Not found" is cached, and a create does not invalidate it.
    pub caches_not_found: bool,
    /// The list is cached and never invalidated.
    pub caches_list: bool,
    /// Every tenth answer to a user is another user's.
    pub swaps_users: bool,
    /// Every tenth answer has its title from one write and its text from the one before.
    pub tears_writes: bool,
    /// Every tenth answer is of a write that was never sent.
    pub invents_versions: bool,
    /// Answers carry no version.
    pub hides_versions: bool,
    /// Added to the duration of each answer.
    pub takes: Duration,
}

/// The correct app.
pub const NO_DEFECTS: CacheDefects = CacheDefects {
    ttl: None,
    invalidation_delay: Some(Duration::ZERO),
    source_lags: false,
    caches_not_found: false,
    caches_list: false,
    swaps_users: false,
    tears_writes: false,
    invents_versions: false,
    hides_versions: false,
    takes: Duration::ZERO,
};

#[derive(Default)]
struct State {
    items: HashMap<u64, Vec<Value>>,
    cache: HashMap<String, (u16, Value, Option<Instant>)>,
    answered: u64,
}

/// Starts it with `items` items; it runs until the end of the test process.
pub fn start(defects: CacheDefects, items: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let loaded =
        (1..=items).map(|id| (id, vec![json!({ "id": id, "version": 1, "title": "a", "text": "a" })])).collect();
    let state = Arc::new(Mutex::new(State { items: loaded, ..State::default() }));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || serve(stream, defects, &state));
        }
    });
    address
}

fn serve(stream: TcpStream, defects: CacheDefects, state: &Arc<Mutex<State>>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_ascii_lowercase());
        }
        let header = |name: &str| lines.iter().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let mut body = vec![0; header("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        std::thread::sleep(defects.takes);
        let mut words = lines[0].split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let user = header("x-user:").and_then(|user| user.parse().ok()).unwrap_or(0);
        let (status, answer, cache) = answer(method, target, user, &body, defects, state);
        let text = if status == 204 { String::new() } else { answer.to_string() };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-cache: {cache}\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if writer.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(
    method: &str,
    target: &str,
    user: u64,
    body: &[u8],
    defects: CacheDefects,
    shared: &Arc<Mutex<State>>,
) -> (u16, Value, &'static str) {
    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
    state.answered += 1;
    let tenth = state.answered.is_multiple_of(10);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let id = path.strip_prefix("/items/").and_then(|id| id.parse::<u64>().ok());
    match (method, id) {
        ("get", _) if path == "/me" => {
            let shown = if tenth && defects.swaps_users { user + 1 } else { user };
            (200, json!({ "user": shown }), "MISS")
        }
        ("get", _) if path == "/items" => {
            if let Some((status, list, _)) = state.cache.get(path).filter(|_| defects.caches_list && query.is_empty()) {
                return (*status, list.clone(), "HIT");
            }
            let mut items: Vec<Value> = state.items.values().filter_map(|versions| versions.last().cloned()).collect();
            items.sort_by_key(|item| item["id"].as_u64());
            let list = json!({ "items": items });
            state.cache.insert(path.to_owned(), (200, list.clone(), None));
            (200, list, "MISS")
        }
        ("get", Some(id)) => read(&mut state, path, id, query.is_empty(), tenth, defects),
        ("put" | "delete", Some(id)) => {
            let change = (method == "put").then(|| serde_json::from_slice::<Value>(body).unwrap_or_default());
            let done = write(&mut state, id, change);
            invalidate(&mut state, path, defects, shared);
            (done.0, done.1, "")
        }
        _ => (200, json!({ "ready": true }), ""),
    }
}

fn read(
    state: &mut State,
    path: &str,
    id: u64,
    cached: bool,
    tenth: bool,
    defects: CacheDefects,
) -> (u16, Value, &'static str) {
    let now = Instant::now();
    let hit = state.cache.get(path).filter(|(_, _, until)| cached && until.is_none_or(|until| until > now));
    if let Some((status, value, _)) = hit {
        return (*status, value.clone(), "HIT");
    }
    let versions = state.items.get(&id).cloned().unwrap_or_default();
    let behind = usize::from(defects.source_lags && versions.len() > 1);
    let Some(item) = versions.get(versions.len().wrapping_sub(1 + behind)) else {
        let missing = (404, json!({ "error": "no such item" }));
        if defects.caches_not_found {
            state.cache.insert(path.to_owned(), (missing.0, missing.1.clone(), None));
        }
        return (missing.0, missing.1, "MISS");
    };
    let mut item = item.clone();
    if tenth && defects.tears_writes && versions.len() > 1 {
        item["text"] = versions[versions.len() - 2]["text"].clone();
    }
    if tenth && defects.invents_versions && versions.len() > 1 {
        for field in ["title", "text"] {
            let text = item[field].as_str().unwrap_or_default();
            item[field] = json!(text.rsplit_once('-').map_or(text.to_owned(), |(token, _)| format!("{token}-4000")));
        }
    }
    if defects.hides_versions {
        item = json!({ "id": id, "title": item["title"] });
    }
    if cached && !(tenth && (defects.tears_writes || defects.invents_versions)) {
        state.cache.insert(path.to_owned(), (200, item.clone(), defects.ttl.map(|ttl| now + ttl)));
    }
    (200, item, if cached { "MISS" } else { "BYPASS" })
}

fn write(state: &mut State, id: u64, change: Option<Value>) -> (u16, Value) {
    let Some(change) = change else {
        return if state.items.remove(&id).is_some() { (204, Value::Null) } else { (404, json!({})) };
    };
    let versions = state.items.entry(id).or_default();
    let version = versions.last().and_then(|last| last["version"].as_u64()).unwrap_or(0) + 1;
    let item = json!({ "id": id, "version": version, "title": change["title"], "text": change["text"] });
    versions.push(item.clone());
    (200, item)
}

fn invalidate(state: &mut State, path: &str, defects: CacheDefects, shared: &Arc<Mutex<State>>) {
    if defects.caches_not_found && state.cache.get(path).is_some_and(|(status, _, _)| *status == 404) {
        return;
    }
    match defects.invalidation_delay {
        None => {}
        Some(Duration::ZERO) => {
            state.cache.remove(path);
        }
        Some(delay) => {
            let (shared, path) = (Arc::clone(shared), path.to_owned());
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                shared.lock().unwrap_or_else(PoisonError::into_inner).cache.remove(&path);
            });
        }
    }
}
