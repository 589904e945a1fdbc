//! The promise on real Redis and Postgres: what is served as fresh reflects every commit older than Δ.

mod cluster;
mod outbox;
mod random;
mod staged;
mod tiers;
mod untrusted;

use crate::postgres::Postgres;
use crate::samples::Samples;
use crate::support::{Redis, eventually};
use bytes::Bytes;
use cache_layer::key::POSTS;
use cache_layer::promise::{Outbox, PostgresLog, Promise, PromiseConfig, Watched};
use cache_layer::{Cache, CacheConfig, Coherence, Invalidation, Lookup, Metrics, Status, Strategy, Ttl};
use sqlx::PgPool;
use std::time::{Duration, Instant};

const DELTA: Duration = Duration::from_secs(2);
const CONFIG: PromiseConfig =
    PromiseConfig { delta: DELTA, poll: Duration::from_millis(50), retention: Duration::from_secs(900) };
const NAMESPACE: &str = "t:";

/// A table of posts, of which only the version matters, watched by triggers.
pub struct Stage {
    pub postgres: Postgres,
    pub redis: Redis,
    pub pool: PgPool,
}

fn outbox() -> Outbox {
    Outbox::new().watch(Watched::table("posts").key("posts:{id}").tag("posts:list"))
}

impl Stage {
    pub async fn start() -> Self {
        Self::on(Redis::start()).await
    }

    pub async fn on(redis: Redis) -> Self {
        let postgres = Postgres::start().await;
        let pool = postgres.pool(10).await;
        for sql in [
            "CREATE TABLE posts (id bigint PRIMARY KEY, version bigint NOT NULL DEFAULT 0)",
            "INSERT INTO posts (id) SELECT generate_series(1, 100)",
        ] {
            sqlx::query(sql).execute(&pool).await.expect(sql);
        }
        outbox().install(&pool).await.expect("installed");
        Self { postgres, redis, pool }
    }

    /// One process of an app, which runs a relay where there is something to relay.
    pub async fn instance(&self, coherence: Coherence) -> Instance {
        self.instance_of(Strategy::Redis, coherence).await
    }

    pub async fn instance_of(&self, strategy: Strategy, coherence: Coherence) -> Instance {
        let cache = self.cache(CacheConfig { strategy, ..self.redis.patiently() }, coherence).await;
        self.with_relay(cache).await
    }

    /// One without a relay. A value in the first tier stays: only the news can take it away.
    pub async fn cache(&self, mut config: CacheConfig, coherence: Coherence) -> Opened {
        config.two_tier.ttl = Duration::from_secs(600);
        let redis = config.redis.as_mut().expect("redis");
        redis.namespace = NAMESPACE.into();
        redis.coherence = coherence;
        redis.connections = 3;
        redis.backoff_at_most = Duration::from_millis(100);
        let metrics = Metrics::default();
        let cache = config.open(metrics.clone()).expect("a cache");
        assert!(cache.ready(Duration::from_secs(10)).await);
        Opened { cache, metrics }
    }

    pub async fn with_relay(&self, Opened { cache, metrics }: Opened) -> Instance {
        let promise = self.relay(&cache).await;
        Instance { cache, metrics, pool: self.pool.clone(), promise }
    }

    pub async fn relay(&self, cache: &Cache) -> Promise {
        Promise::start(cache, self.log().await, CONFIG)
    }

    pub async fn log(&self) -> PostgresLog {
        PostgresLog::installed(&self.pool, &outbox()).await.expect("a log")
    }

    /// A committed write of which no cache is told. When it was acknowledged.
    pub async fn write(&self, id: i64) -> Instant {
        let sql = "UPDATE posts SET version = version + 1 WHERE id = $1";
        sqlx::query(sql).bind(id).execute(&self.pool).await.expect("an update");
        Instant::now()
    }

    pub fn redis_has(&self, name: &str) -> bool {
        redis::cmd("EXISTS").arg(format!("{NAMESPACE}{name}")).query(&mut self.redis.connect()).expect("EXISTS")
    }
}

pub struct Opened {
    pub cache: Cache,
    pub metrics: Metrics,
}

pub struct Instance {
    pub cache: Cache,
    pub metrics: Metrics,
    pub pool: PgPool,
    pub promise: Promise,
}

impl Instance {
    /// The version and whether the cache had it.
    pub async fn read(&self, id: i64) -> (i64, bool) {
        let lookup = read(&self.cache, &self.pool, id).await;
        (version(&lookup), matches!(lookup.status, Status::Hit { .. }))
    }

    pub async fn invalidate(&self, id: i64) {
        self.cache.invalidate(&Invalidation::new().key(&POSTS.item(id)).tag(POSTS.lists())).await;
    }

    /// Waits until the cache answers for a key.
    pub async fn warm(&self, id: i64) -> i64 {
        let mut seen = 0;
        eventually("the cache answers", async || {
            let (version, hit) = self.read(id).await;
            seen = version;
            hit
        })
        .await;
        seen
    }

    /// Reads until the cache has answered with the version for a while, Δ after it was written. How many answers as fresh were older
    /// than Δ: the promise is 0.
    pub async fn stale_answers(&self, id: i64, committed: (i64, Instant)) -> usize {
        let (wanted, at) = committed;
        let (mut stale, mut right) = (0, 0);
        let start = Instant::now();
        while at.elapsed() < DELTA * 2 || (right < 20 && stale == 0) {
            assert!(start.elapsed() < Duration::from_secs(30), "the cache answers again");
            let late = at.elapsed() > DELTA;
            let lookup = read(&self.cache, &self.pool, id).await;
            let (version, hit) = (version(&lookup), matches!(lookup.status, Status::Hit { .. }));
            let fresh = !matches!(lookup.status, Status::Stale { .. });
            stale += usize::from(fresh && late && version < wanted);
            right += usize::from(hit && version >= wanted);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stale
    }

    /// A sample out of the metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let _refreshed = self.cache.status();
        Samples::of(&self.metrics).one(&format!("{name} "))
    }
}

pub async fn load(pool: &PgPool, id: i64) -> Result<Option<Bytes>, sqlx::Error> {
    let sql = "SELECT version FROM posts WHERE id = $1";
    let version: Option<i64> = sqlx::query_scalar(sql).bind(id).fetch_optional(pool).await?;
    Ok(version.map(|version| Bytes::copy_from_slice(&version.to_be_bytes())))
}

pub async fn read(cache: &Cache, pool: &PgPool, id: i64) -> Lookup {
    cache.get_or_load(&POSTS.item(id), Ttl::Class, || load(pool, id)).await.expect("the database answers")
}

pub fn version(lookup: &Lookup) -> i64 {
    i64::from_be_bytes(lookup.value.as_deref().expect("a value").try_into().expect("eight bytes"))
}
