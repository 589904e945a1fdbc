use crate::args::{AppArgs, non_empty};
use crate::database::Database;
use crate::error::AppError;
use crate::handlers::session::SessionService;
use crate::handlers::views::ViewCounter;
use crate::handlers::{self, warming};
use crate::outbox;
use crate::respond::Problem;
use crate::telemetry::{self, Telemetry};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use cache_layer::bulkhead::BulkheadConfig;
use cache_layer::encryption::KeyRing;
use cache_layer::manage::{Manage, Token};
use cache_layer::promise::{PostgresLog, Promise, PromiseConfig};
use cache_layer::value::ValueKeys;
use cache_layer::warm::Warmer;
use cache_layer::{
    Cache, CacheConfig, Coherence, ConfigError, Environment, Invalidated, Invalidation, Metrics, RedisConfig, Sampler,
    Strategy,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Settings of the cache that are also arguments of the app, so they are read with or without a configuration.
const OWN_SETTINGS: [&str; 4] = ["REDIS_URL", "REDIS_CA_FILE", "CACHE_COHERENCE", "CACHE_NAMESPACE"];

/// How often the cache's servers are sampled, and how often a summary is logged.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// Timeouts of a shutdown: for unwritten views, and for the cache.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The app's parts, shared by all requests. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    cache: Cache,
    telemetry: Telemetry,
    views: ViewCounter,
    session_service: Option<SessionService>,
    warmer: Warmer,
    tokens: Vec<Token>,
    /// Reads the outbox; only with coherence `outbox`.
    promise: Mutex<Option<Promise>>,
    /// How long after a commit an instance may still serve the old value if Redis did not get the invalidation. `None`: writes do not
    /// wait for that.
    visible_after: Option<Duration>,
    _sampler: Sampler,
}

impl App {
    /// Connects to Postgres, creates and fills the tables, opens the cache. Redis need not be up.
    ///
    /// # Errors
    /// Postgres cannot be reached or does not allow creating tables; a setting is invalid.
    pub async fn build(args: &AppArgs) -> Result<Self, AppError> {
        let tokens = non_empty(&args.admin_token).map(Token::new).transpose()?.into_iter().collect();
        let metrics = Metrics::default();
        let telemetry = Telemetry::new(&metrics);
        let mut config = config(args)?;
        if let Some(keys) = non_empty(&args.session_keys) {
            config.value_keys = ValueKeys::new(KeyRing::parse(keys)?);
        }
        let session_service = SessionService::open(args, config.redis.clone(), &metrics)?;
        if let Some(redis) = &mut config.redis {
            redis.watch_replicas = args.writes_wait;
        }
        let cache = config.open(metrics)?;
        let database = Database::open(args, telemetry.clone()).await?;
        let mut visible_after = None;
        let promise = if cache.coherence() == Coherence::Outbox {
            let log = PostgresLog::open(database.pool(), &outbox::outbox()).await?;
            let config = PromiseConfig::default();
            visible_after = args.writes_wait.then_some(config.delta);
            Some(Promise::start(&cache, log, config))
        } else {
            None
        };
        if !cache.ready(Duration::from_secs(1)).await {
            tracing::warn!("Redis does not answer: starting without a cache; Redis is used as soon as it answers");
        }
        let inner = Inner {
            views: ViewCounter::start(&cache, &database),
            warmer: warming::warmer(&cache, &database)?,
            _sampler: Sampler::start(&cache, SAMPLE_INTERVAL, SUMMARY_INTERVAL),
            promise: Mutex::new(promise),
            visible_after,
            session_service,
            database,
            cache,
            telemetry,
            tokens,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The cache the app reads through.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// Fills the cache ahead of requests.
    #[must_use]
    pub fn warmer(&self) -> &Warmer {
        &self.inner.warmer
    }

    /// Writes the unwritten views, and closes the cache and the connections. Views that could not be written in time are logged.
    pub async fn close(&self) {
        self.inner.warmer.cancel();
        self.inner.views.close(FLUSH_TIMEOUT).await;
        let promise = self.inner.promise.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(promise) = promise {
            promise.close().await;
        }
        let session_service = async {
            if let Some(session_service) = &self.inner.session_service {
                session_service.close(CLOSE_TIMEOUT).await;
            }
        };
        tokio::join!(self.inner.cache.close(CLOSE_TIMEOUT), session_service);
        self.inner.database.close().await;
    }

    /// With `--writes-wait`: waits until no instance serves the value from before the commit. It waits
    ///
    /// - if Redis did not get the invalidation, or a replica that may become the master did not confirm it;
    /// - always with two tiers: an instance that lost its invalidation messages serves from its first tier until the outbox reaches it.
    pub(crate) async fn wait_until_visible(&self, committed: Instant, stale: &Invalidation, result: Invalidated) {
        let Some(after) = self.inner.visible_after else { return };
        let has_first_tiers = self.cache().strategy() == Strategy::TwoTier;
        if has_first_tiers || result == Invalidated::Owed || !self.cache().confirm(stale).await {
            tokio::time::sleep_until(committed + after).await;
        }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.inner.telemetry
    }

    pub(crate) fn views(&self) -> &ViewCounter {
        &self.inner.views
    }

    /// `None`: there are no sessions.
    pub(crate) fn session_service(&self) -> Option<&SessionService> {
        self.inner.session_service.as_ref()
    }
}

/// The cache's settings: those of the environment, if there are any, overridden by the command line.
fn config(args: &AppArgs) -> Result<CacheConfig, ConfigError> {
    let mut config = match &args.environment {
        Some(environment) => CacheConfig::from_env(environment)?,
        None => {
            let ignored = Environment::of_process().settings_but(&OWN_SETTINGS);
            if !ignored.is_empty() {
                let names = ignored.join(", ");
                tracing::warn!(
                    names,
                    "ignored, because neither CACHE_ENV nor CACHE_CONFIG is set: set CACHE_ENV to use them"
                );
            }
            CacheConfig::redis("")
        }
    };
    config.strategy = args.cache.unwrap_or(config.strategy);
    if let Some(ms) = args.cache_timeout_ms {
        config.request_budget = Duration::from_millis(ms) * 2;
    }
    if args.loads_at_most > 0 {
        // Waiting is better than failing as long as the request has time; a statement may take longer.
        let limit = BulkheadConfig::new(args.loads_at_most);
        config.loads_at_most = Some(BulkheadConfig { wait: Duration::from_secs(2), ..limit });
    }
    if matches!(config.strategy, Strategy::Memory | Strategy::None) {
        config.redis = None;
        return Ok(config);
    }
    let mut redis = config.redis.take().unwrap_or_else(|| RedisConfig::new(""));
    redis.url = args.redis_url.clone().unwrap_or(redis.url);
    if redis.url.is_empty() {
        return Err(ConfigError::NoRedisUrl);
    }
    // An empty variable counts as not set.
    if let Some(file) = args.redis_ca.as_ref().filter(|file| !file.as_os_str().is_empty()) {
        redis.tls.ca_file = Some(file.clone());
    }
    redis.command_timeout = args.cache_timeout_ms.map_or(redis.command_timeout, Duration::from_millis);
    redis.coherence = args.coherence.unwrap_or(redis.coherence);
    if let Some(namespace) = non_empty(&args.namespace) {
        namespace.clone_into(&mut redis.namespace);
    } else if redis.coherence == Coherence::Outbox && redis.namespace.is_empty() {
        "app:".clone_into(&mut redis.namespace);
    }
    config.redis = Some(redis);
    Ok(config)
}

/// All routes of the app, ready to be served or wrapped.
pub fn router(app: App) -> Router {
    let counter = middleware::from_fn_with_state(app.telemetry().clone(), telemetry::count);
    let not_found = async || Problem(StatusCode::NOT_FOUND, "there is no such path".into());
    let manage = Manage::new(app.cache().clone()).tokens(app.inner.tokens.clone()).warmer(app.warmer().clone());
    handlers::routes(&app).fallback(not_found).with_state(app).nest("/cache", manage.router()).layer(counter)
}
