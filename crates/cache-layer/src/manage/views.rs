//! How the cache is, and warming it.

use super::Desk;
use super::access::Who;
use super::problem::{Body, Problem};
use crate::advice::Advice;
use crate::health::Health;
use crate::statistics::Statistics;
use crate::warm::{WarmStatus, Warmer};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn statistics(State(desk): State<Desk>) -> Json<Statistics> {
    Json(desk.cache.statistics())
}

pub(super) async fn advice(State(desk): State<Desk>) -> Json<Vec<Advice>> {
    Json(desk.cache.advice().await)
}

pub(super) async fn health(State(desk): State<Desk>) -> Json<Health> {
    Json(desk.cache.health().await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WarmWhat {
    #[serde(default)]
    plans: Vec<String>,
}

pub(super) async fn warm_status(State(desk): State<Desk>) -> Result<Json<WarmStatus>, Problem> {
    Ok(Json(warmer(&desk)?.status()))
}

pub(super) async fn warm(
    State(desk): State<Desk>,
    Extension(Who(who)): Extension<Who>,
    Body(what): Body<WarmWhat>,
) -> Result<(StatusCode, Json<WarmStatus>), Problem> {
    let warmer = warmer(&desk)?;
    warmer.start(&what.plans.iter().map(String::as_str).collect::<Vec<_>>())?;
    tracing::info!(target: "cache_layer::audit", who, plans = ?what.plans, "warm");
    Ok((StatusCode::ACCEPTED, Json(warmer.status())))
}

pub(super) async fn stop_warming(
    State(desk): State<Desk>,
    Extension(Who(who)): Extension<Who>,
) -> Result<Json<Value>, Problem> {
    let stopped = warmer(&desk)?.cancel();
    tracing::info!(target: "cache_layer::audit", who, stopped, "stop warming");
    Ok(Json(json!({ "stopped": stopped })))
}

fn warmer(desk: &Desk) -> Result<&Warmer, Problem> {
    desk.warmer.as_ref().ok_or_else(|| Problem::not_found("this app has nothing to warm"))
}
