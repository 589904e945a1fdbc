//! What the figures of a cache suggest to change.

use crate::statistics::{ClassStatistics, Statistics};
use crate::store::ServerInfo;
use serde::Serialize;

/// Fewer reads say nothing about a class.
const MIN_READS: u64 = 1_000;
/// Below this hit rate a class costs about as much as it saves: two round trips for each miss.
const LOW_HIT_RATE: f64 = 0.3;
/// Share of the misses whose value was invalidated while it was loaded.
const MANY_REJECTIONS: f64 = 0.05;
/// Share of the reads for which the cache gave no answer.
const MANY_FALLBACKS: f64 = 0.01;
/// Share of `maxmemory` above which evictions begin soon.
const NEARLY_FULL: f64 = 0.8;

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Advice {
    /// The class of keys, or the server (`host:port`), that it is about.
    pub about: String,
    /// What was seen and what to do.
    pub text: String,
}

/// Advice on what was counted since the process began.
pub(crate) fn advice(statistics: &Statistics, servers: &[ServerInfo]) -> Vec<Advice> {
    let classes = statistics.classes.iter().flat_map(|(name, class)| of_class(name, class));
    classes.chain(servers.iter().flat_map(of_server)).collect()
}

fn of_class(name: &str, class: &ClassStatistics) -> Vec<Advice> {
    let reads = class.hits + class.misses + class.fallbacks;
    let mut texts = Vec::new();
    if reads < MIN_READS {
        return Vec::new();
    }
    if let Some(rate) = class.hit_rate.filter(|rate| *rate < LOW_HIT_RATE) {
        texts.push(format!(
            "only {} of {reads} reads were hits: make the TTL longer, the keys less specific, or leave this class out of the cache",
            percent(rate)
        ));
    }
    if class.lease_rejections as f64 > class.misses as f64 * MANY_REJECTIONS {
        texts.push(format!(
            "{} of {} loads were invalidated before they were stored: writes name more keys than they change, or it is written as \
             often as it is read",
            class.lease_rejections, class.misses
        ));
    }
    if class.fallbacks as f64 > reads as f64 * MANY_FALLBACKS {
        texts.push(format!(
            "for {} of {reads} reads the cache gave no answer: look at its connections and at the slow log",
            class.fallbacks
        ));
    }
    texts.into_iter().map(|text| Advice { about: name.to_owned(), text }).collect()
}

fn of_server(server: &ServerInfo) -> Option<Advice> {
    let share = server.used_memory as f64 / server.max_memory as f64;
    let text = if server.max_memory == 0 {
        "there is no maxmemory, so the keys may fill the machine: set one, and a policy that evicts".to_owned()
    } else if server.evicted > 0 {
        let lru =
            if server.policy.ends_with("-lru") { ", or try allkeys-lfu, which keeps what is read often" } else { "" };
        format!("{} keys were evicted: give it more memory{lru}", server.evicted)
    } else if share > NEARLY_FULL {
        format!("{} of its memory is used: keys will be evicted soon", percent(share))
    } else {
        return None;
    };
    Some(Advice { about: server.address.clone(), text })
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn class(hits: u64, misses: u64, fallbacks: u64, lease_rejections: u64) -> ClassStatistics {
        let hit_rate = crate::health::hit_rate(hits, misses);
        ClassStatistics { hits, misses, fallbacks, hit_rate, lease_rejections, ..ClassStatistics::default() }
    }

    fn server(used_memory: u64, max_memory: u64, evicted: u64) -> ServerInfo {
        ServerInfo {
            address: "redis:6379".to_owned(),
            answered_in: Duration::from_millis(1),
            version: "7.0.15".to_owned(),
            role: "master".to_owned(),
            uptime_seconds: 60,
            used_memory,
            max_memory,
            policy: "allkeys-lru".to_owned(),
            keys: 10,
            evicted,
            clients: 2,
            keyspace_hits: 0,
            keyspace_misses: 0,
        }
    }

    #[test]
    fn each_piece_of_advice_has_its_figures() {
        let said = |class: &ClassStatistics| {
            of_class("posts", class).into_iter().map(|advice| advice.text).collect::<Vec<_>>()
        };
        assert_eq!(said(&class(900, 100, 0, 2)), [""; 0], "a healthy class");
        assert_eq!(said(&class(1, 99, 9, 50)), [""; 0], "too few reads to tell");
        let poor = said(&class(100, 900, 0, 0));
        assert!(poor.len() == 1 && poor[0].starts_with("only 10 % of 1000 reads were hits"), "{poor:?}");
        let written = said(&class(900, 100, 0, 20));
        assert!(written.len() == 1 && written[0].starts_with("20 of 100 loads were invalidated"), "{written:?}");
        let unanswered = said(&class(900, 100, 50, 0));
        assert!(unanswered.len() == 1 && unanswered[0].starts_with("for 50 of 1050 reads"), "{unanswered:?}");

        let said = |server: &ServerInfo| of_server(server).map_or(String::new(), |advice| advice.text);
        assert_eq!(said(&server(10, 100, 0)), "");
        assert!(said(&server(10, 0, 0)).starts_with("there is no maxmemory"));
        assert!(said(&server(85, 100, 0)).starts_with("85 % of its memory"));
        let evicting = said(&server(100, 100, 7));
        assert!(evicting.starts_with("7 keys were evicted") && evicting.contains("allkeys-lfu"), "{evicting}");
    }
}
