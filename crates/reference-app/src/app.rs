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
use cache_layer::manage::{Manage, Token};
use cache_layer::promise::{PostgresLog, Promise, PromiseConfig};
use cache_layer::warm::Warmer;
use cache_layer::{
    Cache, CacheConfig, Coherence, ConfigError, Environment, Invalidated, Invalidation, Metrics, RedisConfig, Sampler,
    Strategy,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Settings of the cache that the app takes as its own, whether or not there is a configuration.
const OWN_SETTINGS: [&str; 4] = ["REDIS_URL", "REDIS_CA_FILE", "CACHE_COHERENCE", "CACHE_NAMESPACE"];

/// How often the servers of the cache are looked at, and how often a line says what the cache did.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// The longest waits of a shutdown: for what is not in the database yet, and for the cache.
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
    /// Runs with the coherence outbox.
    promise: Mutex<Option<Promise>>,
    /// How long after a commit that Redis was not told of nobody serves from it what was before. `None`: nobody waits for that.
    visible_after: Option<Duration>,
    _sampler: Sampler,
}

impl App {
    /// Connects to Postgres, makes and fills the tables, opens the cache. Redis need not be up.
    ///
    /// # Errors
    /// Postgres cannot be reached or does not let us make tables; a setting cannot work.
    pub async fn build(args: &AppArgs) -> Result<Self, AppError> {
        let tokens = non_empty(&args.admin_token).map(Token::new).transpose()?.into_iter().collect();
        let metrics = Metrics::default();
        let telemetry = Telemetry::new(&metrics);
        let mut config = config(args)?;
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
            tracing::warn!("Redis does not answer: starting without a cache, it is used as soon as it comes");
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

    /// Puts what will be read into the cache.
    #[must_use]
    pub fn warmer(&self) -> &Warmer {
        &self.inner.warmer
    }

    /// Writes what is not in the database yet, and closes the cache and the connections. What could not be written in time is in the log.
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

    /// Waits, where writes do, until no instance serves from Redis what was before a commit: where Redis could not be told of it, or a
    /// replica that may become the master did not confirm it; or, always, where other instances have it in a first tier, for one that has lost its
    /// news serves on until the outbox has reached it.
    pub(crate) async fn wait_until_visible(&self, committed: Instant, stale: &Invalidation, told: Invalidated) {
        let Some(after) = self.inner.visible_after else { return };
        let elsewhere = self.cache().strategy() == Strategy::TwoTier;
        if elsewhere || told == Invalidated::Owed || !self.cache().confirm(stale).await {
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

    /// `None`: nobody can log in.
    pub(crate) fn session_service(&self) -> Option<&SessionService> {
        self.inner.session_service.as_ref()
    }
}

/// The cache's settings: those of the environment, if there are any, and over them what was said on the command line.
fn config(args: &AppArgs) -> Result<CacheConfig, ConfigError> {
    let mut config = match &args.environment {
        Some(environment) => CacheConfig::from_env(environment)?,
        None => {
            let aside = Environment::of_process().settings_but(&OWN_SETTINGS);
            if !aside.is_empty() {
                let names = aside.join(", ");
                tracing::warn!(
                    names,
                    "not read, for neither CACHE_ENV nor CACHE_CONFIG is set: set CACHE_ENV to read them"
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
        // Waiting is better than failing while a request has time: Postgres itself is given more.
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
    // Set to nothing is not set, as for every variable.
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
    let nothing = async || Problem(StatusCode::NOT_FOUND, "there is no such path".into());
    let manage = Manage::new(app.cache().clone()).tokens(app.inner.tokens.clone()).warmer(app.warmer().clone());
    handlers::routes(&app).fallback(nothing).with_state(app).nest("/cache", manage.router()).layer(counter)
}
