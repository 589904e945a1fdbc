//! Which keys and tags a changed row makes invalid, as data; and the trigger that it becomes.

use super::outbox::OutboxError;
use std::fmt::Write;

/// A table and what its rows are cached as.
///
/// A name is a template: `posts:{id}` stands for the key of the row's `id`. What a placeholder brings is percent-encoded
/// as [`crate::key`] does it; a name with a placeholder that is NULL is left out. An update makes both invalid, what the old
/// row names and what the new one does. Placeholders should be of types with one text form, such as numbers, texts, enums, UUIDs:
/// how a time stamp is written depends on the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    schema: Option<String>,
    table: String,
    keys: Vec<String>,
    tags: Vec<String>,
    per_statement: bool,
}

impl Watched {
    /// A table, found by the search path. Of a table with children (`INHERITS`) each child has to be watched as well; of one with
    /// partitions none, but a `TRUNCATE` of a single partition is not seen.
    #[must_use]
    pub fn table(name: impl Into<String>) -> Self {
        Self { schema: None, table: name.into(), keys: Vec::new(), tags: Vec::new(), per_statement: false }
    }

    /// A table of a schema.
    #[must_use]
    pub fn table_in(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: Some(schema.into()), ..Self::table(name) }
    }

    /// A key that shows the row.
    #[must_use]
    pub fn key(mut self, template: impl Into<String>) -> Self {
        self.keys.push(template.into());
        self
    }

    /// A tag of values that show the row, or would show it.
    #[must_use]
    pub fn tag(mut self, template: impl Into<String>) -> Self {
        self.tags.push(template.into());
        self
    }

    /// One record a statement instead of one a row: cheaper where statements change many rows, dearer where they
    /// change one. Not for tables with partitions or children, whose rows can be changed past such a trigger; nor for tables that logical
    /// replication writes to, for it fires no such trigger (but at the first copy).
    #[must_use]
    pub fn per_statement(mut self) -> Self {
        self.per_statement = true;
        self
    }

    /// The table's name, quoted.
    pub(super) fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.table)),
            None => quoted(&self.table),
        }
    }

    pub(super) const fn is_per_statement(&self) -> bool {
        self.per_statement
    }

    /// The trigger's function and the triggers. `outbox` and `function` are quoted names, `part` that of the function that encodes.
    pub(super) fn ddl(&self, outbox: &str, function: &str, part: &str) -> Result<String, OutboxError> {
        if self.keys.is_empty() && self.tags.is_empty() {
            return Err(OutboxError::NothingNamed(self.table.clone()));
        }
        let expressions = |templates: &[String], record: &str| -> Result<Vec<String>, OutboxError> {
            templates.iter().map(|template| expression(template, record, part)).collect()
        };
        let mut sql = format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
             SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $cacheproof$\n"
        );
        let everything = format!(
            "IF TG_OP = 'TRUNCATE' THEN
               INSERT INTO {outbox} (everything) VALUES (true);
               RETURN NULL;
             END IF;\n"
        );
        let table = self.quoted();
        if self.per_statement {
            let names = |rows: &str| -> Result<String, OutboxError> {
                let keys = expressions(&self.keys, "r")?.into_iter().map(|name| format!("({name}, false)"));
                let tags = expressions(&self.tags, "r")?.into_iter().map(|name| format!("({name}, true)"));
                let values = keys.chain(tags).collect::<Vec<_>>().join(", ");
                Ok(format!(
                    "SELECT u.name, u.tag FROM {rows} r CROSS JOIN LATERAL (VALUES {values}) u (name, tag)
                      WHERE u.name IS NOT NULL"
                ))
            };
            let (old, new) = (names("old_rows")?, names("new_rows")?);
            // UNION leaves one of each; a million of names in one record would be a burden, so a thousand.
            let write = |names: &str| {
                format!(
                    "INSERT INTO {outbox} (keys, tags)
                     SELECT coalesce(array_agg(name) FILTER (WHERE NOT tag), '{{}}'),
                            coalesce(array_agg(name) FILTER (WHERE tag), '{{}}')
                       FROM (SELECT name, tag, (row_number() OVER () - 1) / 1000 AS part FROM ({names}) d) n GROUP BY part;\n"
                )
            };
            let _ = write!(
                sql,
                "BEGIN {everything}
                 IF TG_OP = 'UPDATE' THEN {}
                 ELSIF TG_OP = 'INSERT' THEN {}
                 ELSE {} END IF;
                 RETURN NULL; END $cacheproof$;\n",
                write(&format!("{old} UNION {new}")),
                write(&format!("{new} UNION {new}")),
                write(&format!("{old} UNION {old}")),
            );
            for (event, rows) in [
                ("INSERT", "NEW TABLE AS new_rows"),
                ("UPDATE", "OLD TABLE AS old_rows NEW TABLE AS new_rows"),
                ("DELETE", "OLD TABLE AS old_rows"),
            ] {
                let name = format!("cache_outbox_{}", event.to_lowercase());
                let _ = write!(
                    sql,
                    "CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table} REFERENCING {rows}
                       FOR EACH STATEMENT EXECUTE FUNCTION {function}();
                     ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};\n"
                );
            }
            let _ = writeln!(sql, "DROP TRIGGER IF EXISTS cache_outbox_row ON {table};");
        } else {
            let (old_keys, new_keys) = (expressions(&self.keys, "OLD")?, expressions(&self.keys, "NEW")?);
            let (old_tags, new_tags) = (expressions(&self.tags, "OLD")?, expressions(&self.tags, "NEW")?);
            let array = |names: &[String]| format!("array_remove(ARRAY[{}]::text[], NULL)", names.join(", "));
            let _ = write!(
                sql,
                "DECLARE old_keys text[] := '{{}}'; new_keys text[] := '{{}}';
                         old_tags text[] := '{{}}'; new_tags text[] := '{{}}';
                 BEGIN {everything}
                 IF TG_OP <> 'DELETE' THEN new_keys := {}; new_tags := {}; END IF;
                 IF TG_OP <> 'INSERT' THEN old_keys := {}; old_tags := {}; END IF;
                 IF old_keys = new_keys THEN old_keys := '{{}}'; END IF;
                 IF old_tags = new_tags THEN old_tags := '{{}}'; END IF;
                 INSERT INTO {outbox} (keys, tags) VALUES (old_keys || new_keys, old_tags || new_tags);
                 RETURN NULL; END $cacheproof$;
                 CREATE OR REPLACE TRIGGER cache_outbox_row AFTER INSERT OR UPDATE OR DELETE ON {table}
                   FOR EACH ROW EXECUTE FUNCTION {function}();
                 ALTER TABLE {table} ENABLE ALWAYS TRIGGER cache_outbox_row;\n",
                array(&new_keys),
                array(&new_tags),
                array(&old_keys),
                array(&old_tags),
            );
            for event in ["insert", "update", "delete"] {
                let _ = writeln!(sql, "DROP TRIGGER IF EXISTS cache_outbox_{event} ON {table};");
            }
        }
        // ALWAYS: rows that a restore or logical replication applies change the table as well. (The latter fires those for each row.)
        let _ = write!(
            sql,
            "CREATE OR REPLACE TRIGGER cache_outbox_truncate AFTER TRUNCATE ON {table}
               FOR EACH STATEMENT EXECUTE FUNCTION {function}();
             ALTER TABLE {table} ENABLE ALWAYS TRIGGER cache_outbox_truncate;\n"
        );
        Ok(sql)
    }
}

/// `posts:{id}` as an expression over a record.
fn expression(template: &str, record: &str, part: &str) -> Result<String, OutboxError> {
    let bad = || OutboxError::Template(template.to_owned());
    if template.is_empty() || template.contains('\0') {
        return Err(bad());
    }
    let (mut pieces, mut rest) = (Vec::new(), template);
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or_else(bad)? + open;
        let (text, column) = (&rest[..open], &rest[open + 1..close]);
        if column.is_empty() || column.contains('{') || text.contains('}') {
            return Err(bad());
        }
        if !text.is_empty() {
            pieces.push(literal(text));
        }
        pieces.push(format!("{part}({record}.{}::text)", quoted(column)));
        rest = &rest[close + 1..];
    }
    if rest.contains('}') {
        return Err(bad());
    }
    if !rest.is_empty() {
        pieces.push(literal(rest));
    }
    Ok(pieces.join(" || "))
}

/// An identifier, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text constant, whatever is in it and however `standard_conforming_strings` is set. The dollar is encoded, or a text could
/// end the function's body.
fn literal(text: &str) -> String {
    let mut out = String::from("E'");
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '$' => out.push_str("\\x24"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_becomes_an_expression() {
        let sql = |template| expression(template, "NEW", "p").map_err(|error| error.to_string());
        assert_eq!(sql("posts:{id}"), Ok(r#"E'posts:' || p(NEW."id"::text)"#.into()));
        assert_eq!(sql("{a}{b}:x"), Ok(r#"p(NEW."a"::text) || p(NEW."b"::text) || E':x'"#.into()));
        assert_eq!(sql("posts:list"), Ok("E'posts:list'".into()));
        assert_eq!(sql(r#"it's \$ {a"b}"#), Ok(r#"E'it''s \\\x24 ' || p(NEW."a""b"::text)"#.into()));
        for bad in ["", "posts:{", "posts:{}", "posts:}", "{a{b}}", "{a}}"] {
            assert!(sql(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_table_without_names_is_refused() {
        assert!(Watched::table("posts").ddl("o", "f", "p").is_err());
    }
}
