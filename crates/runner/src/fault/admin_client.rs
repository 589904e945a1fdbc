//! Commands to servers, past the proxies.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::FaultError;
use cacheproof_stack::{Server, postgres_options};

/// How long a server may take for one answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to a Redis or a Sentinel.
pub(super) type RedisConnection = redis::aio::MultiplexedConnection;

fn refused(server: &Server, what: &str, why: impl ToString) -> FaultError {
    FaultError::Refused { victim: server.name().to_owned(), what: what.to_owned(), why: why.to_string() }
}

/// Opens a connection.
pub(super) async fn connect_redis(server: &Server) -> Result<RedisConnection, FaultError> {
    let open = async {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        cacheproof_stack::connect_redis(server.url(), &config).await
    };
    match tokio::time::timeout(RESPONSE_TIMEOUT, open).await {
        Ok(connection) => connection.map_err(|error| refused(server, "connecting", error)),
        Err(_) => Err(refused(server, "connecting", "it does not answer")),
    }
}

/// Runs a command on a connection.
pub(super) async fn run_command<T: redis::FromRedisValue>(
    server: &Server,
    connection: &mut RedisConnection,
    command: &[&str],
) -> Result<T, FaultError> {
    let mut cmd = redis::Cmd::new();
    cmd.arg(command);
    cmd.query_async(connection).await.map_err(|error| refused(server, command.first().unwrap_or(&""), error))
}

/// Runs a command on a new connection.
pub(super) async fn redis_command<T: redis::FromRedisValue>(
    server: &Server,
    command: &[&str],
) -> Result<T, FaultError> {
    run_command(server, &mut connect_redis(server).await?, command).await
}

/// A field of `INFO`; empty if it is missing.
pub(super) async fn info(
    server: &Server,
    connection: &mut RedisConnection,
    section: &str,
    field: &str,
) -> Result<String, FaultError> {
    let text: String = run_command(server, connection, &["INFO", section]).await?;
    Ok(info_field(&text, field).unwrap_or_default().to_owned())
}

fn info_field<'text>(text: &'text str, field: &str) -> Option<&'text str> {
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim)
}

/// A value that changes with every start of the server.
pub(super) async fn incarnation_id(server: &Server, is_postgres: bool) -> Result<String, FaultError> {
    if is_postgres {
        let query = async {
            let mut connection = PgConnection::connect_with(&postgres_options(server.url())?).await?;
            let started: String = sqlx::query_scalar(
                "WITH /* cacheproof */ cacheproof_probe AS (SELECT pg_postmaster_start_time()::text) SELECT * FROM cacheproof_probe",
            )
            .fetch_one(&mut connection)
            .await?;
            connection.close().await?;
            Ok::<_, sqlx::Error>(started)
        };
        return match tokio::time::timeout(RESPONSE_TIMEOUT, query).await {
            Ok(answer) => answer.map_err(|error| refused(server, "reading its start time", error)),
            Err(_) => Err(refused(server, "reading its start time", "it does not answer")),
        };
    }
    info(server, &mut connect_redis(server).await?, "server", "run_id").await
}
