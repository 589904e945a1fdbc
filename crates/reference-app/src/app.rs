use crate::args::ServeArgs;
use crate::database::Database;
use crate::error::AppError;
use crate::handlers::{self, IdPath, ListParams};
use crate::resource::RESOURCES;
use crate::respond::Problem;
use crate::telemetry::{self, Telemetry};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::routing::get;
use bytes::Bytes;
use cache_layer::{Cache, CacheConfig, Metrics, Strategy};
use std::sync::Arc;
use std::time::Duration;

/// The app's parts, shared by all requests. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    cache: Cache,
    telemetry: Telemetry,
}

impl App {
    /// Connects to Postgres, makes and fills the tables, opens the cache. Redis need not be up.
    ///
    /// # Errors
    /// Postgres cannot be reached or does not let us make tables; the cache's settings cannot work.
    pub async fn build(args: &ServeArgs) -> Result<Self, AppError> {
        let mut config = match (args.cache, &args.redis_url) {
            (Strategy::Redis, Some(url)) => CacheConfig::redis(url),
            (Strategy::Redis, None) => return Err(cache_layer::ConfigError::NoRedisUrl.into()),
            (Strategy::Memory, _) => CacheConfig::memory(),
            (Strategy::None, _) => CacheConfig::none(),
        };
        let timeout = Duration::from_millis(args.cache_timeout_ms);
        config.request_budget = timeout * 2;
        if let Some(redis) = &mut config.redis {
            redis.command_timeout = timeout;
        }
        let metrics = Metrics::default();
        let telemetry = Telemetry::new(&metrics);
        let cache = config.open(metrics)?;
        let database = Database::open(args, telemetry.clone()).await?;
        if !cache.ready(Duration::from_secs(1)).await {
            tracing::warn!("Redis does not answer: starting without a cache, it is used as soon as it comes");
        }
        Ok(Self { inner: Arc::new(Inner { database, cache, telemetry }) })
    }

    /// The cache the app reads through.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// Closes the connections to Postgres.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.inner.telemetry
    }
}

/// All routes of the app, ready to be served or wrapped.
pub fn router(app: App) -> Router {
    let mut router = Router::new().route("/health", get(handlers::health)).route("/metrics", get(handlers::metrics));
    for resource in &RESOURCES {
        let collection = get(async |State(app): State<App>, Query(query): ListParams, headers: HeaderMap| {
            handlers::list(app, resource, &query, &headers).await
        })
        .post(async |State(app): State<App>, body: Bytes| handlers::create(app, resource, body).await);
        let one = get(async |State(app): State<App>, Path(id): IdPath, headers: HeaderMap| {
            handlers::item(app, resource, &id, &headers).await
        })
        .put(async |State(app): State<App>, Path(id): IdPath, body: Bytes| {
            handlers::update(app, resource, &id, body).await
        })
        .delete(async |State(app): State<App>, Path(id): IdPath| handlers::delete(app, resource, &id).await);
        let name = resource.name();
        router = router.route(&format!("/{name}"), collection).route(&format!("/{name}/{{id}}"), one);
    }
    let counter = middleware::from_fn_with_state(app.telemetry().clone(), telemetry::count);
    let nothing = async || Problem(StatusCode::NOT_FOUND, "there is no such path".into());
    router.fallback(nothing).layer(counter).with_state(app)
}
