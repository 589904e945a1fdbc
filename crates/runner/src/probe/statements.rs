//! Which statements the database executed for the app, by the difference of two readings of pg_stat_statements.

use std::collections::HashMap;

use cacheproof_core::journal::StatementCounts;

/// How many of the most frequent statements are told.
const MOST_FREQUENT: usize = 10;

/// What a statement begins with that pools, drivers and transactions send, whatever the app asks for.
const OF_POOLS: [&str; 13] = [
    "BEGIN",
    "START TRANSACTION",
    "COMMIT",
    "END",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "SET ",
    "SHOW ",
    "RESET",
    "DISCARD",
    "DEALLOCATE",
    "UNLISTEN",
];

/// What a pool sends to see whether a connection is alive.
const OF_CHECKS: [&str; 4] = [";", "SELECT 1", "SELECT $1", "SELECT PG_ADVISORY_UNLOCK_ALL()"];

/// How often each statement was executed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatementReading {
    /// By user and id.
    pub(super) calls: HashMap<(i64, i64), (String, u64)>,
    /// Changes where counts are lost: the start of the server, since when it counts, how often it threw some out.
    pub(super) counting: (String, String, Option<u64>),
}

impl StatementReading {
    /// What was executed since an earlier reading. `None` where counts were lost in between.
    pub(crate) fn since(self, before: &Self) -> Option<StatementCounts> {
        if self.counting != before.counting {
            return None;
        }
        let since = |(id, (text, calls)): ((i64, i64), (String, u64))| {
            let earlier = before.calls.get(&id).map_or(0, |(_, calls)| *calls);
            (text, calls.saturating_sub(earlier))
        };
        let mut all: Vec<(String, u64)> = self.calls.into_iter().map(since).collect();
        all.retain(|(_, calls)| *calls > 0);
        all.sort_unstable_by(|(text, calls), (other, more)| more.cmp(calls).then_with(|| text.cmp(other)));
        let sum = |wanted: fn(&str) -> bool| all.iter().filter(|(text, _)| wanted(text)).map(|(_, calls)| calls).sum();
        Some(StatementCounts {
            all: sum(|_| true),
            by_pools: sum(is_by_pool),
            most_frequent: all.iter().take(MOST_FREQUENT).cloned().collect(),
        })
    }
}

/// Whether a pool, a driver or a transaction sent a statement, and not the app for its data.
fn is_by_pool(text: &str) -> bool {
    let text = text.trim().to_uppercase();
    let text = if text == ";" { text } else { text.trim_end_matches(';').trim_end().to_owned() };
    OF_CHECKS.contains(&text.as_str()) || OF_POOLS.iter().any(|begins| text.starts_with(begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(of: &[(i64, &str, u64)]) -> StatementReading {
        let calls = of.iter().map(|(id, text, calls)| ((10, *id), ((*text).to_owned(), *calls))).collect();
        StatementReading { calls, counting: ("noon".into(), "eleven".into(), Some(0)) }
    }

    #[test]
    fn what_was_executed_before_does_not_count_and_what_pools_send_is_told_apart() {
        let before =
            reading(&[(1, "SELECT * FROM posts WHERE id = $1", 100), (2, "BEGIN", 50), (4, "SELECT now()", 9)]);
        let after = reading(&[
            (1, "SELECT * FROM posts WHERE id = $1", 160),
            (2, "BEGIN", 70),
            (3, "DISCARD ALL;", 5),
            (4, "SELECT now()", 9),
            (5, "/* ping */ SELECT $1", 1),
            (6, "SELECT $1", 7),
        ]);
        let counts = after.since(&before).expect("nothing was lost");
        assert_eq!((counts.all, counts.by_pools), (93, 32));
        assert_eq!(counts.most_frequent[0], ("SELECT * FROM posts WHERE id = $1".to_owned(), 60));
        assert!(!counts.most_frequent.iter().any(|(text, _)| text == "SELECT now()"), "{counts:?}");
        let mut restarted = reading(&[(1, "x", 30)]);
        restarted.counting.0 = "one".into();
        assert_eq!(
            restarted.since(&reading(&[(1, "x", 10)])),
            None,
            "it may have counted more before it was restarted"
        );
        let mut evicted = reading(&[(1, "x", 30)]);
        evicted.counting.2 = Some(3);
        assert_eq!(evicted.since(&reading(&[(1, "x", 10)])), None, "some statements were thrown out");
    }

    #[test]
    fn no_query_of_an_app_is_taken_for_that_of_a_pool() {
        for text in [
            "",
            "(text unknown)",
            "<insufficient privilege>",
            "SELECT $1 + $2",
            "INSERT INTO sets VALUES ($1)",
            "UPDATE posts SET title = $1",
            "SELECT $1 FROM posts",
        ] {
            assert!(!is_by_pool(text), "{text}");
        }
        for text in [
            "begin isolation level serializable",
            "SET application_name = 'x'",
            " select 1 ; ",
            "COMMIT PREPARED $1",
            ";",
        ] {
            assert!(is_by_pool(text), "{text}");
        }
    }
}
