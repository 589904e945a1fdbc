//! Who holds which slot: asked of the cluster itself, learnt from its `MOVED`, and looked at again whenever something breaks.

use super::dial::Dialer;
use super::server::Server;
use super::slot::{self, SLOTS};
use super::url::Address;
use super::{Command, Via};
use crate::backoff::Backoff;
use rand::seq::SliceRandom;
use redis::{RedisResult, Value};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// The map is asked for at most this often.
const PAUSE: Duration = Duration::from_millis(100);
/// While a master cannot be reached: a replica may take its place.
const WHILE_BROKEN: Duration = Duration::from_millis(250);
const WHILE_WELL: Duration = Duration::from_secs(15);

/// Makes the server at an address, once the map names it.
type Maker = Box<dyn Fn(&Address) -> Server + Send + Sync>;

pub(super) struct Cluster {
    seeds: Vec<Address>,
    map: RwLock<Arc<Map>>,
    dialer: Dialer,
    maker: Maker,
    stale: Notify,
    namespace: String,
}

/// Which server holds which slot.
pub(super) struct Map {
    pub(super) servers: Vec<Arc<Server>>,
    /// For each slot an index; `NOBODY` for none.
    owners: Vec<u16>,
    /// Nodes that hold none; they know the map, too.
    replicas: Vec<Address>,
}

const NOBODY: u16 = u16::MAX;

/// One line of the cluster's own map.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    from: u16,
    to: u16,
    master: Address,
    replicas: Vec<Address>,
}

/// Where a server sends us instead of answering.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// For good.
    Moved(u16, Address),
    /// For this once: the slot is being handed over.
    Ask(Address),
}

impl Redirect {
    /// Out of `MOVED 3999 host:port` and `ASK 3999 host:port`; a missing host is that of the server which said so.
    pub(super) fn of(answer: &Value, said_by: &str) -> Option<Self> {
        let Value::ServerError(error) = answer else { return None };
        let is_ask = match error.code() {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (slot, address) = error.details()?.split_once(' ')?;
        let (host, port) = address.rsplit_once(':')?;
        let host = if host.is_empty() { said_by } else { host.trim_start_matches('[').trim_end_matches(']') };
        let address = Address { host: host.to_owned(), port: port.parse().ok()? };
        let slot = slot.parse().ok().filter(|slot| usize::from(*slot) < SLOTS)?;
        Some(if is_ask { Self::Ask(address) } else { Self::Moved(slot, address) })
    }
}

impl Map {
    pub(super) fn index(&self, key: &str) -> Option<usize> {
        let owner = self.owners[usize::from(slot::of(key))];
        (owner != NOBODY).then_some(usize::from(owner))
    }

    fn slots_of(&self, owner: u16) -> Vec<(u16, u16)> {
        let mut slots = 0..self.owners.len();
        let mut ranges = Vec::new();
        while let Some(from) = slots.find(|slot| self.owners[*slot] == owner) {
            let to = slots.find(|slot| self.owners[*slot] != owner).unwrap_or(self.owners.len()) - 1;
            ranges.extend(u16::try_from(from).ok().zip(u16::try_from(to).ok()));
        }
        ranges
    }

    fn at(&self, address: &Address) -> Option<usize> {
        self.servers.iter().position(|server| server.at.as_ref() == Some(address))
    }
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Address>, dialer: Dialer, maker: Maker, namespace: String) -> Self {
        let map = Map { servers: Vec::new(), owners: vec![NOBODY; SLOTS], replicas: Vec::new() };
        Self { seeds, map: RwLock::new(Arc::new(map)), dialer, maker, stale: Notify::new(), namespace }
    }

    pub(super) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The map may be out of date.
    pub(super) fn doubt(&self) {
        self.stale.notify_one();
    }

    /// Keeps the map up to date, for as long as the store lives.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut backoff = Backoff::new(WHILE_BROKEN, Duration::from_secs(2));
        loop {
            if let Some(ranges) = self.ask_around().await {
                self.apply(ranges);
                backoff.reset();
                let all_up = self.map().servers.iter().all(|server| server.pool.up() > 0);
                let wait = if all_up { WHILE_WELL } else { WHILE_BROKEN };
                tokio::select! {
                    () = self.stale.notified() => {}
                    () = sleep(wait.mul_f64(0.75 + rand::random::<f64>() / 2.0)) => {}
                }
                sleep(PAUSE).await;
            } else {
                sleep(backoff.next_wait().max(PAUSE)).await;
            }
        }
    }

    /// The map as the first node has it that answers; those with a connection are asked first.
    async fn ask_around(&self) -> Option<Vec<Range>> {
        let map = self.map();
        let mut servers: Vec<_> = map.servers.iter().filter(|server| server.pool.up() > 0).collect();
        servers.shuffle(&mut rand::rng());
        for server in servers {
            let answers = server.run(Via::Direct, vec![Command::new("", question())]).await;
            if let (Ok(mut answers), Some(at)) = (answers, &server.at)
                && let Some(Ok(answer)) = answers.pop()
                && let Some(ranges) = ranges(&answer, &at.host)
            {
                return Some(ranges);
            }
        }
        let known = map.servers.iter().filter_map(|server| server.at.as_ref());
        let mut others: Vec<_> = known.chain(&map.replicas).chain(&self.seeds).collect();
        others.sort();
        others.dedup();
        others.shuffle(&mut rand::rng());
        for node in others {
            match self.ask(node).await.map(|answer| ranges(&answer, &node.host)) {
                Ok(Some(ranges)) => return Some(ranges),
                Ok(None) => tracing::debug!(%node, "this node has no map of a cluster"),
                Err(error) => tracing::debug!(%node, %error, "this node does not tell the map of the cluster"),
            }
        }
        None
    }

    async fn ask(&self, node: &Address) -> RedisResult<Value> {
        let mut line = self.dialer.connect(node, None).await?;
        let question = question();
        let answer = question.query_async(&mut line.inner);
        timeout(self.dialer.patience, answer).await.map_err(|_| super::dial::silence())?
    }

    /// A new map. Servers that stay keep their connections, those that are gone lose them.
    fn apply(&self, ranges: Vec<Range>) {
        let mut held = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut map = Map { servers: Vec::new(), owners: vec![NOBODY; SLOTS], replicas: Vec::new() };
        let mut slots: Vec<Vec<(u16, u16)>> = Vec::new();
        for Range { from, to, master, replicas } in ranges {
            let index = map.at(&master).unwrap_or_else(|| {
                let kept = held.at(&master).map(|index| Arc::clone(&held.servers[index]));
                map.servers.push(kept.unwrap_or_else(|| Arc::new((self.maker)(&master))));
                slots.push(Vec::new());
                map.servers.len() - 1
            });
            slots[index].push((from, to));
            map.owners[usize::from(from)..=usize::from(to)].fill(u16::try_from(index).unwrap_or(NOBODY));
            map.replicas.extend(replicas);
        }
        for (server, slots) in map.servers.iter().zip(slots) {
            server.holds(slots, &self.namespace);
        }
        if map.servers.len() != held.servers.len() || map.servers.iter().zip(&held.servers).any(|(a, b)| a.at != b.at) {
            let masters: Vec<_> = map.servers.iter().map(|server| server.address()).collect();
            tracing::info!(?masters, "the cache cluster has these masters");
        }
        *held = Arc::new(map);
    }

    /// The server to which a redirect leads. After `MOVED` the slot is looked for there from now on.
    pub(super) fn follow(&self, redirect: &Redirect) -> Arc<Server> {
        let (Redirect::Moved(_, address) | Redirect::Ask(address)) = redirect;
        let mut held = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let known = held.at(address);
        if let (Some(index), Redirect::Moved(slot, _)) = (known, redirect)
            && usize::from(held.owners[usize::from(*slot)]) == index
        {
            return Arc::clone(&held.servers[index]);
        }
        if let (Some(index), Redirect::Ask(_)) = (known, redirect) {
            return Arc::clone(&held.servers[index]);
        }
        let mut map =
            Map { servers: held.servers.clone(), owners: held.owners.clone(), replicas: held.replicas.clone() };
        let index = known.unwrap_or_else(|| {
            map.servers.push(Arc::new((self.maker)(address)));
            map.servers.len() - 1
        });
        let server = Arc::clone(&map.servers[index]);
        if let Redirect::Moved(slot, _) = redirect {
            let owner = u16::try_from(index).unwrap_or(NOBODY);
            let before = std::mem::replace(&mut map.owners[usize::from(*slot)], owner);
            // Invalidations go by the same map as reads from here on, or nobody would apply those of this slot.
            for changed in [before, owner] {
                if let Some(server) = map.servers.get(usize::from(changed)) {
                    server.holds(map.slots_of(changed), &self.namespace);
                }
            }
            self.doubt();
        }
        *held = Arc::new(map);
        server
    }
}

fn question() -> redis::Cmd {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    question
}

/// Out of the answer to `CLUSTER SLOTS`; `None` when it is none, or names no master.
fn ranges(answer: &Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(lines) = answer else { return None };
    let mut ranges = Vec::with_capacity(lines.len());
    for line in lines {
        let Value::Array(line) = line else { return None };
        let [from, to, nodes @ ..] = &line[..] else { return None };
        let slot = |value| redis::from_redis_value_ref::<u16>(value).ok().filter(|slot| usize::from(*slot) < SLOTS);
        let mut nodes = nodes.iter().filter_map(|node| self::node(node, asked));
        let (from, to, master) = (slot(from)?, slot(to)?, nodes.next()?);
        ranges.push(Range { from, to: to.max(from), master, replicas: nodes.collect() });
    }
    (!ranges.is_empty()).then_some(ranges)
}

/// `[host, port, …]`; a host that is null or empty is that of the node that was asked, `?` is not known.
fn node(value: &Value, asked: &str) -> Option<Address> {
    let Value::Array(parts) = value else { return None };
    let [host, port, ..] = &parts[..] else { return None };
    let host = redis::from_redis_value_ref::<Option<String>>(host).ok()?.filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| asked.to_owned());
    (host != "?").then_some(Address { host, port: redis::from_redis_value_ref(port).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])])
    }

    fn at(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    #[test]
    fn the_map_is_read_with_hosts_that_are_not_said() {
        let line = |from, to, nodes: Vec<Value>| Value::Array([vec![Value::Int(from), Value::Int(to)], nodes].concat());
        let answer = Value::Array(vec![
            line(0, 5, vec![node(text("10.0.0.1"), 1), node(text(""), 2)]),
            line(6, 16383, vec![node(Value::Nil, 3), node(text("?"), 4)]),
        ]);
        let ranges = ranges(&answer, "asked").expect("a map");
        assert_eq!(ranges[0].master, at("10.0.0.1", 1));
        assert_eq!(ranges[0].replicas, [at("asked", 2)]);
        assert_eq!((ranges[1].from, ranges[1].to, &ranges[1].master), (6, 16383, &at("asked", 3)));
        assert!(ranges[1].replicas.is_empty());
    }

    #[test]
    fn the_slots_of_an_owner_are_told_as_ranges() {
        let mut map = Map { servers: Vec::new(), owners: vec![0; SLOTS], replicas: Vec::new() };
        assert_eq!((map.slots_of(0), map.slots_of(1)), (vec![(0, 16383)], vec![]));
        map.owners[5..9].fill(1);
        map.owners[16383] = 1;
        assert_eq!(map.slots_of(0), [(0, 4), (9, 16382)]);
        assert_eq!(map.slots_of(1), [(5, 8), (16383, 16383)]);
    }

    #[test]
    fn what_is_no_map_is_none() {
        let wrong = |from: i64, to: i64| {
            Value::Array(vec![Value::Array(vec![Value::Int(from), Value::Int(to), node(text("h"), 1)])])
        };
        assert!(ranges(&wrong(0, 16383), "h").is_some());
        for answer in [Value::Array(vec![]), Value::Nil, wrong(0, 16384), wrong(-1, 5), Value::Array(vec![Value::Nil])]
        {
            assert_eq!(ranges(&answer, "h"), None, "{answer:?}");
        }
    }

    #[test]
    fn redirects_are_read() {
        let refusal = |text: &str| {
            let parsed = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).expect("RESP");
            Redirect::of(&parsed, "here")
        };
        assert_eq!(refusal("MOVED 3999 10.0.0.2:7001"), Some(Redirect::Moved(3999, at("10.0.0.2", 7001))));
        assert_eq!(refusal("ASK 3999 :7001"), Some(Redirect::Ask(at("here", 7001))));
        assert_eq!(refusal("MOVED 1 ::1:7001"), Some(Redirect::Moved(1, at("::1", 7001))));
        for other in ["ERR MOVED 1 h:1", "MOVED 99999 h:1", "MOVED", "MOVED 1 h"] {
            assert_eq!(refusal(other), None, "{other}");
        }
    }
}
