//! The outbox: invalidations written by triggers in the same transaction as the change, so that neither is without the other.

use super::watched::{Watched, quoted};
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool};
use std::fmt::Write;

/// Any number: it keeps two apps that start together from installing at once.
const LOCK: i64 = 0x00ca_c4e0_07b0;

/// What to install: where the outbox is, and which tables write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    schema: String,
    tables: Vec<Watched>,
}

/// The outbox cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// A template that is none.
    #[error("`{0}` is no template of a key: write text and {{columns}}, as in posts:{{id}}")]
    Template(String),
    /// A table that names neither a key nor a tag.
    #[error("the watched table `{0}` names neither a key nor a tag that its rows make invalid")]
    NothingNamed(String),
    /// A trigger once a statement would miss changes.
    #[error("the watched table `{0}` has partitions or children: watch it per row")]
    Partitioned(String),
    /// A table whose rows are those of another one as well, which nobody watches.
    #[error(
        "the watched table `{table}` has the child `{child}` (INHERITS), whose rows pass its trigger by: watch that, too"
    )]
    Child {
        /// As it was named.
        table: String,
        /// As the database names it.
        child: String,
    },
    /// The database refused, or could not be reached.
    #[error("the outbox cannot be installed: {0}")]
    Database(#[from] sqlx::Error),
}

impl Outbox {
    /// An outbox in the schema `public`.
    #[must_use]
    pub fn new() -> Self {
        Self { schema: "public".into(), tables: Vec::new() }
    }

    /// In another schema, which is made when it is missing.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// One table more.
    #[must_use]
    pub fn watch(mut self, table: Watched) -> Self {
        self.tables.push(table);
        self
    }

    /// The quoted name of something in the outbox's schema.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }

    /// Makes tables, functions and triggers where they are missing or different. Any number of processes may do it at once, any number of
    /// times; where nothing changed, no table is locked.
    ///
    /// The role must own the watched tables and may create in the schema. Roles that write to watched tables need no right on the
    /// outbox. The role of the relay reads and deletes there, and updates `cache_outbox_horizon`.
    ///
    /// # Errors
    /// A template is wrong, or the database refuses.
    pub async fn install(&self, pool: &PgPool) -> Result<(), OutboxError> {
        let mut tx = pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
        // A writer that holds a table for long must not make all others queue behind this.
        tx.execute("SET LOCAL lock_timeout = '5s'").await?;
        self.make_tables(&mut tx).await?;
        for table in &self.tables {
            self.make_triggers(&mut tx, table).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Takes away what [`Outbox::install`] made, of this outbox's schema: the triggers of all tables, watched or not any more, the functions and
    /// the tables. For when nobody runs with [`crate::Coherence::Outbox`] any more: who does trusts nothing from then on. Nothing to do
    /// where there is no outbox.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn uninstall(&self, pool: &PgPool) -> Result<(), OutboxError> {
        let mut tx = pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
        tx.execute("SET LOCAL lock_timeout = '5s'").await?;
        let find = "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                     WHERE n.nspname = $1 AND p.proname ~ '^cache_outbox_of_[0-9]+$'";
        let functions: Vec<String> = sqlx::query_scalar(find).bind(&self.schema).fetch_all(&mut *tx).await?;
        let mut sql = String::new();
        for function in functions {
            // With it go its triggers.
            let _ = writeln!(sql, "DROP FUNCTION {function} CASCADE;");
        }
        for table in ["cache_outbox", "cache_outbox_horizon"] {
            let _ = writeln!(sql, "DROP TABLE IF EXISTS {};", self.name(table));
        }
        for function in ["cache_key_part", "cache_key_escaped"] {
            let _ = writeln!(sql, "DROP FUNCTION IF EXISTS {}(text);", self.name(function));
        }
        tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn make_tables(&self, tx: &mut PgConnection) -> Result<(), OutboxError> {
        let there = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
        if !sqlx::query_scalar::<_, bool>(there).bind(&self.schema).fetch_one(&mut *tx).await? {
            tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {}", quoted(&self.schema))))).await?;
        }
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {outbox} (
               id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
               txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
               keys text[] NOT NULL DEFAULT '{{}}',
               tags text[] NOT NULL DEFAULT '{{}}',
               everything boolean NOT NULL DEFAULT false,
               at timestamptz NOT NULL DEFAULT clock_timestamp());
             CREATE INDEX IF NOT EXISTS cache_outbox_txid ON {outbox} (txid);
             CREATE TABLE IF NOT EXISTS {horizon} (
               one boolean PRIMARY KEY DEFAULT true CHECK (one),
               trimmed xid8 NOT NULL, upto xid8 NOT NULL, at timestamptz NOT NULL);
             INSERT INTO {horizon} (trimmed, upto, at)
               VALUES ('0', pg_snapshot_xmin(pg_current_snapshot()), clock_timestamp()) ON CONFLICT DO NOTHING;
             CREATE OR REPLACE FUNCTION {escaped}(part text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $cacheproof$
               SELECT string_agg(CASE WHEN chr(b) ~ '[A-Za-z0-9_.-]' COLLATE \"C\" AND b < 128 THEN chr(b)
                                 ELSE '%' || upper(lpad(to_hex(b), 2, '0')) END, '' ORDER BY i)
                 FROM (SELECT i, get_byte(convert_to(part, 'UTF8'), i) AS b
                         FROM generate_series(0, octet_length(convert_to(part, 'UTF8')) - 1) i) bytes
             $cacheproof$;
             -- Simple enough to be inlined; nearly all parts are numbers or plain words.
             CREATE OR REPLACE FUNCTION {part}(part text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $cacheproof$
               SELECT CASE WHEN part ~ '^[A-Za-z0-9_.-]*$' COLLATE \"C\" THEN part ELSE {escaped}(part) END
             $cacheproof$;",
            outbox = self.name("cache_outbox"),
            horizon = self.name("cache_outbox_horizon"),
            escaped = self.name("cache_key_escaped"),
            part = self.name("cache_key_part"),
        );
        // Without a change there is nothing to do, and CREATE OR REPLACE by two at once would be an error.
        let marker = fingerprint(&sql);
        let comment = "SELECT obj_description(to_regclass($1), 'pg_class')";
        let outbox = self.name("cache_outbox");
        let made: Option<String> = sqlx::query_scalar(comment).bind(&outbox).fetch_one(&mut *tx).await?;
        if made.as_deref() != Some(&marker) {
            let sql = format!("{sql} COMMENT ON TABLE {outbox} IS '{marker}';");
            tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        }
        Ok(())
    }

    /// A row of a child fires the child's triggers only, also when it is written by way of the parent. (Partitions have those of
    /// their table.)
    async fn watches_children(&self, tx: &mut PgConnection, table: &Watched, oid: i64) -> Result<(), OutboxError> {
        let watched: Vec<String> = self.tables.iter().map(Watched::quoted).collect();
        let find = "SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
                     WHERE i.inhparent::int8 = $1 AND c.relkind <> 'p'
                       AND i.inhrelid <> ALL (ARRAY(SELECT to_regclass(name)::oid FROM unnest($2::text[]) u (name)))
                     ORDER BY 1 LIMIT 1";
        let child: Option<String> = sqlx::query_scalar(find).bind(oid).bind(watched).fetch_optional(tx).await?;
        child.map_or(Ok(()), |child| Err(OutboxError::Child { table: table.quoted(), child }))
    }

    async fn make_triggers(&self, tx: &mut PgConnection, table: &Watched) -> Result<(), OutboxError> {
        let find = "SELECT $1::regclass::oid::int8,
                           EXISTS (SELECT FROM pg_inherits WHERE inhparent = $1::regclass OR inhrelid = $1::regclass),
                           (SELECT relkind = 'p' FROM pg_class WHERE oid = $1::regclass)";
        let (oid, related, parted): (i64, bool, bool) =
            sqlx::query_as(find).bind(table.quoted()).fetch_one(&mut *tx).await?;
        if table.is_per_statement() && (related || parted) {
            return Err(OutboxError::Partitioned(table.quoted()));
        }
        if !parted && related {
            self.watches_children(tx, table, oid).await?;
        }
        let function = self.name(&format!("cache_outbox_of_{oid}"));
        let mut sql = table.ddl(&self.name("cache_outbox"), &function, &self.name("cache_key_part"))?;
        let marker = fingerprint(&sql);
        let made = "SELECT p.oid IS NOT NULL AND obj_description(p.oid, 'pg_proc') = $2
                       AND (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid::int8 = $3 AND t.tgfoid = p.oid
                                AND t.tgenabled = 'A') = $4
                      FROM (SELECT to_regprocedure($1)::oid) p (oid)";
        let triggers = if table.is_per_statement() { 4_i64 } else { 2 };
        let made: Option<bool> = sqlx::query_scalar(made)
            .bind(format!("{function}()"))
            .bind(&marker)
            .bind(oid)
            .bind(triggers)
            .fetch_one(&mut *tx)
            .await?;
        if made != Some(true) {
            let _ = write!(sql, "COMMENT ON FUNCTION {function}() IS '{marker}';");
            tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        }
        Ok(())
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

/// FNV-1a: the same on every machine and release, which the standard library's hashers do not promise.
fn fingerprint(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("cache-layer {hash:016x}")
}
