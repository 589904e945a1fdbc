//! Validation of documents against schemas. The outcome is cached by schema and document until the schema changes.

use super::SeedTable;
use crate::app::App;
use crate::commit::commit;
use crate::database::DatabaseError;
use crate::keys;
use crate::read::read;
use crate::respond::{Problem, json, lookup_response, parse_body, parse_id};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{post, put};
use bytes::Bytes;
use cache_layer::Invalidation;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub(crate) const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS schemas (
    id bigserial PRIMARY KEY, version bigint NOT NULL DEFAULT 1, rules jsonb NOT NULL);";

/// Rules map fields to types; a type that ends in `?` is optional.
pub(crate) fn seed_sql(_: &SeedTable, from: i64, to: i64) -> String {
    format!(
        r#"INSERT INTO schemas (id, rules) SELECT i,
             ('[{{"name":"string","bio":"string?"}}, {{"title":"string","points":"number?","tags":"array?"}},
                {{"name":"string","workspace":"number","wishes":"object?"}}]'::jsonb) -> (i % 3)::int
             FROM generate_series({from}, {to}) i;"#
    )
}

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/schemas/{id}", put(change)).route("/schemas/{id}/validate", post(validate))
}

async fn validate(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let (id, document): (_, Map<String, Value>) = (parse_id(&id)?, parse_body(&body)?);
    let digest: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    let load = || async {
        let sql = "SELECT json_build_object('version', version, 'rules', rules)::text FROM schemas WHERE id = $1";
        let schema = app.database().read(sqlx::query_scalar(sql).bind(id)).await?;
        Ok::<_, DatabaseError>(schema.map(|schema| outcome(id, &schema, &document)))
    };
    Ok(lookup_response(read(&app, &keys::validation(id, &digest), &headers, load).await?, "schemas", id))
}

fn outcome(id: i64, schema: &[u8], document: &Map<String, Value>) -> Bytes {
    let schema: Value = serde_json::from_slice(schema).unwrap_or_default();
    let problems = schema["rules"].as_object().map(|rules| problems(rules, document)).unwrap_or_default();
    let outcome = serde_json::json!({
        "id": id, "version": schema["version"], "valid": problems.is_empty(), "problems": problems,
    });
    outcome.to_string().into()
}

fn problems(rules: &Map<String, Value>, document: &Map<String, Value>) -> Vec<String> {
    let wrong = |(field, kind): (&String, &Value)| {
        let kind = kind.as_str().unwrap_or_default();
        let (wanted, optional) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
        let found = document.get(field).map(kind_of);
        match found {
            None if optional => None,
            None => Some(format!("`{field}` is missing")),
            Some(found) if found == wanted => None,
            Some(found) => Some(format!("`{field}` is a {found}, not a {wanted}")),
        }
    };
    let unknown = document.keys().filter(|field| !rules.contains_key(*field));
    rules.iter().filter_map(wrong).chain(unknown.map(|field| format!("`{field}` is unknown"))).collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

async fn change(State(app): State<App>, Path(id): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let (id, rules): (_, Map<String, Value>) = (parse_id(&id)?, parse_body(&body)?);
    let statement =
        sqlx::query_as("UPDATE schemas SET rules = $2, version = version + 1 WHERE id = $1 RETURNING version");
    let stale = move |_: Option<&(i64,)>| Invalidation::new().tag(keys::validations(id));
    let changed = commit(&app, statement.bind(id).bind(Value::Object(rules)), stale).await?;
    let (version,) = changed.ok_or_else(|| Problem::not_found("schemas", id))?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "id": id, "version": version })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_of_a_document_are_listed() {
        let rules = serde_json::json!({ "name": "string", "points": "number?", "tags": "array?" });
        let check =
            |document: Value| problems(rules.as_object().expect("rules"), document.as_object().expect("a document"));
        assert!(check(serde_json::json!({ "name": "n", "tags": [] })).is_empty());
        let wrong = check(serde_json::json!({ "points": "2", "more": null }));
        assert_eq!(wrong, ["`name` is missing", "`points` is a string, not a number", "`more` is unknown"]);
    }
}
