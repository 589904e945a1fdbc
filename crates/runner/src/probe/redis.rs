//! Samples of the cache servers' own statistics (`INFO`), of one server or several.

use futures_util::future::join_all;
use tokio::time::timeout;

use super::PROBE_TIMEOUT;
use cacheproof_core::journal::{RedisNodeSample, RedisSample};
use cacheproof_stack::connect_redis;

/// Samples every server of the cache that stores data.
pub(super) struct RedisProbes {
    probes: Vec<RedisProbe>,
    /// With several servers: how much the counters have grown so far.
    increases: Counters,
}

/// One server.
struct RedisProbe {
    name: String,
    url: String,
    connection: Option<redis::aio::MultiplexedConnection>,
    /// Its last counters, and the `run_id` of the server that they belong to.
    last: Option<(String, Counters)>,
}

/// What a server counts since its start. `None`: it does not report it.
#[derive(Clone, Copy)]
struct Counters {
    hits: Option<u64>,
    misses: Option<u64>,
    evicted: Option<u64>,
    expired: Option<u64>,
}

impl Counters {
    const ZERO: Self = Self { hits: Some(0), misses: Some(0), evicted: Some(0), expired: Some(0) };

    fn of(sample: &RedisSample) -> Self {
        let RedisSample { hits, misses, evicted, expired, .. } = *sample;
        Self { hits, misses, evicted, expired }
    }

    /// Adds what was counted since `before`. A sum of which a part is not known is not known.
    fn add_increase(&mut self, now: Self, before: Self) {
        let add = |sum: &mut Option<u64>, now: Option<u64>, before: Option<u64>| {
            *sum = match (*sum, now, before) {
                (Some(sum), Some(now), Some(before)) => Some(sum + now.saturating_sub(before)),
                _ => None,
            };
        };
        add(&mut self.hits, now.hits, before.hits);
        add(&mut self.misses, now.misses, before.misses);
        add(&mut self.evicted, now.evicted, before.evicted);
        add(&mut self.expired, now.expired, before.expired);
    }
}

impl RedisProbes {
    /// `None` if no URL is valid.
    pub(super) fn new(servers: &[(String, String)]) -> Option<Self> {
        let probes: Vec<RedisProbe> = servers
            .iter()
            .filter_map(|(name, url)| {
                redis::Client::open(url.as_str()).ok()?;
                Some(RedisProbe { name: name.clone(), url: url.clone(), connection: None, last: None })
            })
            .collect();
        (!probes.is_empty()).then(|| Self { probes, increases: Counters::ZERO })
    }

    /// One sample. `None` if no master answers.
    pub(super) async fn fetch_sample(&mut self) -> Option<RedisSample> {
        let samples = join_all(self.probes.iter_mut().map(RedisProbe::sample)).await;
        if self.probes.len() == 1 {
            return samples.into_iter().next().flatten();
        }
        for (probe, sample) in self.probes.iter_mut().zip(&samples) {
            if let Some(sample) = sample {
                probe.count(sample, &mut self.increases);
            }
        }
        let named: Vec<(&str, RedisSample)> = self
            .probes
            .iter()
            .zip(samples)
            .filter_map(|(probe, sample)| Some((probe.name.as_str(), sample?)))
            .collect();
        aggregate(&named, self.increases)
    }
}

/// One sample for several servers.
fn aggregate(samples: &[(&str, RedisSample)], increases: Counters) -> Option<RedisSample> {
    let masters: Vec<&RedisSample> =
        samples.iter().map(|(_, sample)| sample).filter(|sample| sample.role == "master").collect();
    if masters.is_empty() {
        return None;
    }
    let sum = |field: fn(&RedisSample) -> Option<u64>| masters.iter().map(|sample| field(sample)).sum();
    let nodes = samples.iter().map(|(name, sample)| RedisNodeSample {
        name: (*name).to_owned(),
        run_id: sample.run_id.clone(),
        role: sample.role.clone(),
        memory: sample.memory,
        keys: sample.keys,
    });
    Some(RedisSample {
        run_id: "together".into(),
        role: "master".into(),
        hits: increases.hits,
        misses: increases.misses,
        evicted: increases.evicted,
        expired: increases.expired,
        memory: sum(|sample| sample.memory),
        max_memory: sum(|sample| sample.max_memory),
        clients: sum(|sample| sample.clients),
        keys: sum(|sample| sample.keys),
        nodes: nodes.collect(),
        age: 0.0,
    })
}

impl RedisProbe {
    async fn sample(&mut self) -> Option<RedisSample> {
        let sample = timeout(PROBE_TIMEOUT, self.fetch_sample()).await.ok().flatten();
        if sample.is_none() {
            self.connection = None;
        }
        sample
    }

    async fn fetch_sample(&mut self) -> Option<RedisSample> {
        if let Some(connection) = &mut self.connection
            && let Ok(info) = redis::cmd("INFO").query_async::<String>(connection).await
        {
            return Some(read_info(&info));
        }
        // A server closes its connections when its role changes, so a new connection is tried first.
        let config = redis::AsyncConnectionConfig::new();
        let connection = self.connection.insert(connect_redis(&self.url, &config).await.ok()?);
        let info: String = redis::cmd("INFO").query_async(connection).await.ok()?;
        Some(read_info(&info))
    }

    /// Adds what this server counted since its last sample, whatever its role: a server that is no longer the master
    /// counted until then.
    fn count(&mut self, sample: &RedisSample, increases: &mut Counters) {
        let now = Counters::of(sample);
        match &self.last {
            Some((run_id, before)) if *run_id == sample.run_id => increases.add_increase(now, *before),
            // It was restarted: its counters started at 0.
            Some(_) => increases.add_increase(now, Counters::ZERO),
            // What it counted before the first sample does not belong to this run.
            None => {}
        }
        self.last = Some((sample.run_id.clone(), now));
    }
}

/// Parses the needed fields of an INFO reply. A field that is missing or can't be read is `None`.
fn read_info(info: &str) -> RedisSample {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let number = |name: &str| field(name)?.parse().ok();
    RedisSample {
        run_id: field("run_id").unwrap_or_default().into(),
        role: field("role").unwrap_or_default().into(),
        hits: number("keyspace_hits"),
        misses: number("keyspace_misses"),
        evicted: number("evicted_keys"),
        expired: number("expired_keys"),
        memory: number("used_memory"),
        max_memory: number("maxmemory"),
        clients: number("connected_clients"),
        keys: read_keys(info),
        nodes: Vec::new(),
        age: 0.0,
    }
}

/// The keys of all databases. A database without keys has no line, so a section without lines means none.
fn read_keys(info: &str) -> Option<u64> {
    let is_number = |name: &str| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_digit());
    let databases: Vec<&str> = info
        .lines()
        .filter_map(|line| line.trim().strip_prefix("db")?.split_once(':'))
        .filter(|(number, _)| is_number(number))
        .map(|(_, fields)| fields)
        .collect();
    let has_section = info.lines().any(|line| line.trim_start_matches('#').trim().eq_ignore_ascii_case("keyspace"));
    if databases.is_empty() && !has_section {
        return None;
    }
    let keys =
        |fields: &str| fields.split(',').find_map(|field| field.trim().strip_prefix("keys="))?.parse::<u64>().ok();
    databases.into_iter().map(keys).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_parsed_by_field_name() {
        let sample = read_info(
            "# Server\r\nrun_id:abc\r\nrole:master\r\nused_memory:1048576\r\nused_memory_rss:9\r\nmaxmemory:67108864\r\n\
             connected_clients:3\r\nkeyspace_hits:90\r\nkeyspace_misses:10\r\nevicted_keys:1\r\nexpired_keys:2\r\n\
             db0:keys=5,expires=5,avg_ttl=1\r\ndb1:keys=2,expires=0,avg_ttl=0\r\n",
        );
        assert_eq!(sample.run_id, "abc");
        assert_eq!((sample.memory, sample.max_memory), (Some(1_048_576), Some(67_108_864)));
        assert_eq!((sample.hits, sample.misses, sample.keys), (Some(90), Some(10), Some(7)));
        assert_eq!((sample.evicted, sample.expired, sample.clients), (Some(1), Some(2), Some(3)));
    }

    #[test]
    fn a_field_that_a_server_does_not_report_is_unknown_and_never_0() {
        let nothing = RedisSample::default();
        for info in ["", "# Server\r\n", "used_memory_rss:9\r\ntotal_system_memory:8\r\ndb_size:5\r\n"] {
            assert_eq!(read_info(info), nothing, "{info:?}");
        }
        // As some servers write what they don't know.
        let odd = "used_memory:\nmaxmemory:none\nkeyspace_hits:-1\nkeyspace_misses:1.5\nconnected_clients:99999999999999999999\n";
        assert_eq!(read_info(odd), nothing);
        assert_eq!(read_info("used_memory:0\n").memory, Some(0), "0 is a number");
        assert_eq!(read_info("# Keyspace\r\n").keys, Some(0), "there are no keys");
        assert_eq!(read_info("db0:keys=3,expires=0\ndb1:expires=0\n").keys, None);
    }

    #[test]
    fn a_sum_over_servers_is_unknown_where_one_does_not_report_its_part() {
        let master = |memory, hits| RedisSample { role: "master".into(), memory, hits, ..RedisSample::default() };
        let of = |one: RedisSample, other: RedisSample| {
            let mut increases = Counters::ZERO;
            increases.add_increase(Counters::of(&one), Counters::ZERO);
            increases.add_increase(Counters::of(&other), Counters::ZERO);
            aggregate(&[("redis-1", one), ("redis-2", other)], increases).map(|sample| (sample.memory, sample.hits))
        };
        assert_eq!(of(master(Some(10), Some(1)), master(Some(5), Some(2))), Some((Some(15), Some(3))));
        assert_eq!(of(master(Some(10), None), master(None, Some(2))), Some((None, None)));
    }

    /// Two servers: first the first is the master, then the second, then the first comes back as a replica.
    #[test]
    fn hits_keep_counting_when_the_master_changes() {
        let probe = |name: &str| RedisProbe {
            name: name.into(),
            url: "redis://127.0.0.1:1/".into(),
            connection: None,
            last: None,
        };
        let (mut one, mut two) = (probe("redis-1"), probe("redis-2"));
        let sample = |run_id: &str, role: &str, hits| RedisSample {
            run_id: run_id.into(),
            role: role.into(),
            hits: Some(hits),
            memory: Some(10),
            ..RedisSample::default()
        };
        let mut increases = Counters::ZERO;
        let mut take = |first: Option<RedisSample>, second: RedisSample| {
            let mut samples = Vec::new();
            if let Some(first) = first {
                one.count(&first, &mut increases);
                samples.push(("redis-1", first));
            }
            two.count(&second, &mut increases);
            samples.push(("redis-2", second));
            aggregate(&samples, increases).map(|sample| (sample.hits.unwrap(), sample.memory.unwrap(), sample.run_id))
        };
        let same = || "together".to_owned();
        assert_eq!(take(Some(sample("a", "master", 1000)), sample("b", "slave", 70)), Some((0, 10, same())));
        assert_eq!(take(Some(sample("a", "master", 1100)), sample("b", "slave", 70)), Some((100, 10, same())));
        assert_eq!(take(None, sample("b", "slave", 70)), None, "there is no master");
        assert_eq!(take(None, sample("b", "master", 90)), Some((120, 10, same())));
        assert_eq!(take(Some(sample("c", "slave", 5)), sample("b", "master", 95)), Some((130, 10, same())));
    }
}
