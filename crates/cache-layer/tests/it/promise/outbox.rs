//! What the triggers write, and how the log is read.

use super::{Stage, outbox};
use cache_layer::key::{POSTS, sanitised};
use cache_layer::promise::{Log, Outbox, OutboxError, Poll, Position, PostgresLog, Replay, Watched};
use sqlx::{Executor, PgPool};
use std::time::Duration;

/// Everything written since the last look, sorted.
struct Reader {
    log: PostgresLog,
    at: Position,
}

impl Reader {
    async fn new(pool: &PgPool, outbox: &Outbox) -> Self {
        let log = PostgresLog::open(pool, outbox).await.expect("a log");
        let at = log.poll(None).await.expect("a poll").position;
        Self { log, at }
    }

    async fn poll(&mut self) -> Poll {
        let poll = self.log.poll(Some(&self.at)).await.expect("a poll");
        self.at = poll.position.clone();
        poll
    }

    async fn names(&mut self) -> (Vec<String>, Vec<String>) {
        match self.poll().await.replay {
            Replay::Rows { mut keys, mut tags, .. } => {
                keys.sort();
                tags.sort();
                (keys, tags)
            }
            Replay::Everything => panic!("it is known what was written"),
        }
    }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const TABLE: &str = r#"CREATE TABLE "It's" (id bigint PRIMARY KEY, "Owner ""x""" text, body text)"#;

fn quirky() -> Watched {
    let table = Watched::table("It's").key("it's:{id}").key("of:{Owner \"x\"}:{id}");
    table.tag("owner:{Owner \"x\"}").tag("all $1 \\ cacheproof$")
}

#[tokio::test]
async fn a_changed_row_names_its_keys_and_tags_as_it_was_and_as_it_is() {
    let stage = Stage::start().await;
    let pool = &stage.pool;
    pool.execute(TABLE).await.expect("a table");
    let fixed = "all $1 \\ cacheproof$";
    for table in [quirky(), quirky().per_statement(), quirky()] {
        let mut reader = Reader::new(pool, &Outbox::new().watch(table)).await;
        pool.execute(r#"INSERT INTO "It's" VALUES (1, 'a', 'x'), (2, NULL, 'x')"#).await.expect("inserted");
        let (keys, tags) = reader.names().await;
        assert_eq!(keys, texts(&["it's:1", "it's:2", "of:a:1"]), "a name with a NULL is left out");
        assert_eq!(tags, texts(&[fixed, "owner:a"]));
        pool.execute(r#"UPDATE "It's" SET "Owner ""x""" = 'b:*' WHERE id = 1"#).await.expect("updated");
        let (keys, tags) = reader.names().await;
        assert_eq!(keys, texts(&["it's:1", "of:a:1", "of:b%3A%2A:1"]));
        assert_eq!(tags, texts(&[fixed, "owner:a", "owner:b%3A%2A"]));
        pool.execute(r#"UPDATE "It's" SET id = 3 WHERE id = 2"#).await.expect("updated");
        assert_eq!(reader.names().await.0, texts(&["it's:2", "it's:3"]));
        pool.execute(r#"DELETE FROM "It's" WHERE id = 3"#).await.expect("deleted");
        assert_eq!(reader.names().await.0, texts(&["it's:3"]));
        pool.execute(r#"UPDATE "It's" SET body = 'y' WHERE id = 99"#).await.expect("nothing updated");
        assert_eq!(reader.names().await, (vec![], vec![]));
        pool.execute(r#"BEGIN; UPDATE "It's" SET body = 'y'; ROLLBACK"#).await.expect("rolled back");
        assert_eq!(reader.names().await, (vec![], vec![]), "what was not committed did not happen");
        pool.execute(r#"TRUNCATE "It's""#).await.expect("truncated");
        assert_eq!(reader.poll().await.replay, Replay::Everything);
    }
}

#[tokio::test]
async fn parts_of_names_are_encoded_as_the_keys_of_the_layer_are() {
    let stage = Stage::start().await;
    let long = "a/b".repeat(100);
    for part in ["plain-1_2.x", "", "a:1*", "100 %", "ä€🦀", "a\nb\\'\"$1", &long, "İß"] {
        let sql: String =
            sqlx::query_scalar("SELECT cache_key_part($1)").bind(part).fetch_one(&stage.pool).await.expect("text");
        assert_eq!(sql, sanitised(part), "{part}");
    }
    assert_eq!(POSTS.list("a:1*", 2).name(), "posts:list:a%3A1%2A:2");
}

#[tokio::test]
async fn roles_that_may_write_a_table_need_no_right_on_the_outbox() {
    let stage = Stage::start().await;
    let mut reader = Reader::new(&stage.pool, &outbox()).await;
    let script = "CREATE ROLE app; GRANT SELECT, UPDATE ON posts TO app;
        CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT NULL';
        SET ROLE app; SET search_path = pg_temp; UPDATE public.posts SET version = 1 WHERE id = 7";
    let mut connection = stage.pool.acquire().await.expect("a connection").detach();
    connection.execute(script).await.expect("an update");
    assert_eq!(reader.names().await.0, texts(&["posts:7"]));
    let refused = connection.execute("SELECT * FROM public.cache_outbox").await;
    assert!(refused.is_err(), "nor does it get one");
}

#[tokio::test]
async fn many_may_install_at_once_and_again_without_locking_a_table() {
    let stage = Stage::start().await;
    let elsewhere = Outbox::new().schema("Cache \"1\"").watch(Watched::table_in("public", "posts").key("p:{id}"));
    let installs: Vec<_> = (0..8)
        .map(|i| {
            let (pool, outbox) = (stage.pool.clone(), if i % 2 == 0 { outbox() } else { elsewhere.clone() });
            tokio::spawn(async move { outbox.install(&pool).await })
        })
        .collect();
    for install in installs {
        install.await.expect("no panic").expect("installed");
    }
    // The last to change the triggers holds; with nothing to change, a writer in a transaction does not stand in the way.
    outbox().install(&stage.pool).await.expect("installed");
    let mut writer = stage.pool.begin().await.expect("a transaction");
    writer.execute("UPDATE posts SET version = 5 WHERE id = 1").await.expect("an update");
    outbox().install(&stage.pool).await.expect("not even looked at");
    writer.commit().await.expect("a commit");

    for (bad, says) in [
        (Watched::table("posts"), "neither a key nor a tag"),
        (Watched::table("posts").key("x:{"), "no template"),
        (Watched::table("absent").key("x"), "absent"),
        (Watched::table("posts").key("x:{absent}").tag("y"), ""),
    ] {
        let refused = Outbox::new().watch(bad.clone()).install(&stage.pool).await;
        match refused {
            Err(error) => assert!(error.to_string().contains(says), "{error}"),
            // PL/pgSQL looks a column up when it runs.
            Ok(()) => assert!(says.is_empty(), "{bad:?}"),
        }
    }
    outbox().install(&stage.pool).await.expect("installed");
    stage.pool.execute("CREATE TABLE parted (id int) PARTITION BY RANGE (id)").await.expect("a table");
    let parted = Outbox::new().watch(Watched::table("parted").key("x:{id}").per_statement());
    assert!(matches!(parted.install(&stage.pool).await, Err(OutboxError::Partitioned(_))));
}

#[tokio::test]
async fn children_are_watched_with_their_parent_or_it_is_not_watched() {
    let stage = Stage::start().await;
    stage.pool.execute("CREATE TABLE p (id int); CREATE TABLE c () INHERITS (p)").await.expect("tables");
    let parent = Outbox::new().watch(Watched::table("p").key("p:{id}"));
    let refused = parent.install(&stage.pool).await;
    assert!(matches!(&refused, Err(OutboxError::Child { child, .. }) if child == "c"), "{refused:?}");
    let mut reader = Reader::new(&stage.pool, &parent.watch(Watched::table("c").key("p:{id}"))).await;
    stage.pool.execute("INSERT INTO c VALUES (7); UPDATE p SET id = 8").await.expect("written");
    assert_eq!(reader.names().await.0, texts(&["p:7", "p:8"]));
}

#[tokio::test]
async fn what_was_installed_can_be_taken_away_and_writes_go_on() {
    let stage = Stage::start().await;
    let elsewhere = Outbox::new().schema("Cache \"1\"").watch(Watched::table_in("public", "posts").key("p:{id}"));
    elsewhere.install(&stage.pool).await.expect("installed");
    let left = "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'cache_outbox%')
                     + (SELECT count(*) FROM pg_proc WHERE proname LIKE 'cache\\_%')
                     + (SELECT count(*) FROM pg_class WHERE relname LIKE 'cache\\_outbox%')";
    // The two have triggers of one name on this table: the last to install has them.
    for outbox in [&outbox(), &elsewhere, &elsewhere] {
        outbox.uninstall(&stage.pool).await.expect("uninstalled");
        stage.write(1).await;
    }
    assert_eq!(stage.postgres.number(left).await, 0);
    outbox().install(&stage.pool).await.expect("installed again");
    stage.write(1).await;
    assert_eq!(stage.postgres.number("SELECT count(*) FROM cache_outbox").await, 1);
}

#[tokio::test]
async fn old_rows_go_but_never_one_that_a_recent_position_has_not_seen() {
    let stage = Stage::start().await;
    let mut reader = Reader::new(&stage.pool, &outbox()).await;
    let ancient = reader.at.clone();
    let retention = Duration::from_millis(300);
    // A transaction that stays open over several retentions.
    let mut open = stage.pool.begin().await.expect("a transaction");
    open.execute("UPDATE posts SET version = 1 WHERE id = 1").await.expect("an update");
    for _ in 0..50 {
        stage.write(2).await;
    }
    reader.poll().await;
    for _ in 0..4 {
        tokio::time::sleep(retention).await;
        reader.log.trim(retention).await.expect("trimmed");
    }
    assert_eq!(stage.postgres.number("SELECT count(*) FROM cache_outbox").await, 50, "an open transaction holds them");
    open.commit().await.expect("a commit");
    assert_eq!(reader.names().await.0, texts(&["posts:1"]), "and is not lost");
    let mut gone = 0;
    for _ in 0..4 {
        tokio::time::sleep(retention).await;
        gone += reader.log.trim(retention).await.expect("trimmed");
        let replay = reader.poll().await.replay;
        assert!(matches!(replay, Replay::Rows { rows: 0, .. }), "who keeps up need not empty anything: {replay:?}");
    }
    assert_eq!(gone, 51);
    let replay = reader.log.poll(Some(&ancient)).await.expect("a poll").replay;
    assert_eq!(replay, Replay::Everything, "who did not must");
}

#[tokio::test]
async fn too_much_to_replay_empties_instead() {
    let stage = Stage::start().await;
    let mut reader = Reader::new(&stage.pool, &outbox()).await;
    stage.pool.execute("INSERT INTO posts (id) SELECT generate_series(101, 10101)").await.expect("inserted");
    assert_eq!(reader.poll().await.replay, Replay::Everything);
    let statement = Outbox::new().watch(Watched::table("posts").key("posts:{id}").per_statement());
    let mut reader = Reader::new(&stage.pool, &statement).await;
    stage.pool.execute("UPDATE posts SET version = 1").await.expect("updated");
    let Replay::Rows { keys, rows, .. } = reader.poll().await.replay else { panic!("it fits") };
    assert_eq!((keys.len(), rows), (10_101, 11), "a thousand names a record");
}

/// `cargo nextest run -p cache-layer what_triggers_cost --run-ignored only --no-capture`
#[tokio::test]
#[ignore = "a measurement"]
async fn what_triggers_cost() {
    let stage = Stage::start().await;
    stage
        .pool
        .execute("CREATE TABLE plain (LIKE posts INCLUDING ALL); INSERT INTO plain SELECT * FROM posts")
        .await
        .expect("made");
    stage
        .pool
        .execute("CREATE TABLE statement (LIKE posts INCLUDING ALL); INSERT INTO statement SELECT * FROM posts")
        .await
        .expect("made");
    let watched = Watched::table("statement").key("s:{id}").tag("s:list").per_statement();
    Outbox::new().watch(watched).install(&stage.pool).await.expect("installed");
    for round in 1..=3 {
        let mut rates = Vec::new();
        for table in ["plain", "posts", "statement"] {
            let start = std::time::Instant::now();
            let writers: Vec<_> = (0..4_i64)
                .map(|w| {
                    let (pool, sql) =
                        (stage.pool.clone(), format!("UPDATE {table} SET version = version + 1 WHERE id = $1"));
                    tokio::spawn(async move {
                        for i in 0..1500 {
                            let id = 1 + w * 25 + i % 25;
                            sqlx::query(sqlx::AssertSqlSafe(sql.as_str()))
                                .bind(id)
                                .execute(&pool)
                                .await
                                .expect("an update");
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.await.expect("no panic");
            }
            rates.push(6000.0 / start.elapsed().as_secs_f64());
        }
        println!(
            "round {round}, single-row UPDATE, 4 clients: {:.0}/s without, {:.0}/s per row ({:+.0} %), {:.0}/s per statement ({:+.0} %)",
            rates[0],
            rates[1],
            100.0 * (rates[1] / rates[0] - 1.0),
            rates[2],
            100.0 * (rates[2] / rates[0] - 1.0)
        );
    }
}

/// `cargo nextest run -p cache-layer what_a_poll_costs --run-ignored only --no-capture`
#[tokio::test]
#[ignore = "a measurement"]
async fn what_a_poll_costs() {
    let stage = Stage::start().await;
    let mut reader = Reader::new(&stage.pool, &outbox()).await;
    let rows = "INSERT INTO cache_outbox (keys, tags, txid)
                SELECT ARRAY['posts:' || i], ARRAY['posts:list'], (3 + i % 500)::text::xid8 FROM generate_series(1, 300000) i";
    stage.pool.execute(rows).await.expect("inserted");
    stage.pool.execute("VACUUM ANALYZE cache_outbox").await.expect("analysed");
    let rows = stage.postgres.number("SELECT count(*) FROM cache_outbox").await;
    reader.poll().await;
    let start = std::time::Instant::now();
    for _ in 0..500 {
        reader.poll().await;
    }
    println!("{rows} rows in the outbox: {:?} a poll, round trip included", start.elapsed() / 500);
}
