//! The kind of a stale item, from rechecks: when to recheck it, and what the rechecks show.

use std::time::Duration;

use cacheproof_core::journal::Recheck;
use cacheproof_core::journal::StaleKind;
use cacheproof_core::scenario::FreshnessSpec;

/// After more rechecks without a response than this, the kind stays unknown.
const MAX_FAILED_RECHECKS: usize = 10;

/// What to do next about a stale item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum NextAction {
    /// Read it again.
    Recheck {
        /// Time since the first stale read.
        after: Duration,
        /// Without the cache.
        past_cache: bool,
    },
    /// It is classified.
    Done(StaleKind),
}

/// The next action after these rechecks. `can_bypass`: whether the app can be read without the cache.
///
/// The cached path is read after 1 and 5 times [`FreshnessSpec::settle`] and a second after the TTL; the uncached path
/// once, when the first of these finds the item still stale.
pub(super) fn next(spec: &FreshnessSpec, can_bypass: bool, rechecks: &[Recheck]) -> NextAction {
    let answered = |past_cache: bool| {
        rechecks
            .iter()
            .filter(move |recheck| recheck.past_cache == past_cache)
            .filter_map(|recheck| Some((recheck.after, recheck.stale?)))
    };
    let failed = rechecks.iter().filter(|recheck| recheck.stale.is_none()).count();
    if failed > MAX_FAILED_RECHECKS {
        return NextAction::Done(kind_so_far(rechecks));
    }
    if let Some((_, true)) = answered(true).next() {
        return NextAction::Done(StaleKind::SourceRegressed);
    }
    let beyond = spec.ttl.map(|ttl| ttl + Duration::from_secs(1));
    let mut times = vec![spec.settle, spec.settle * 5];
    times.extend(beyond);
    times.sort_unstable();
    let cached: Vec<(f64, bool)> = answered(false).collect();
    if cached.iter().any(|(_, stale)| !stale) {
        return NextAction::Done(if cached[0].1 { StaleKind::Stuck } else { StaleKind::Transient });
    }
    let last = cached.last().map(|(after, _)| *after);
    if beyond.zip(last).is_some_and(|(beyond, last)| last >= beyond.as_secs_f64()) {
        return NextAction::Done(StaleKind::BeyondTtl);
    }
    // A recheck without a response is repeated, a little later each time.
    let again = spec.settle.min(Duration::from_secs(1)) * u32::try_from(failed).unwrap_or(u32::MAX);
    if !cached.is_empty() && can_bypass && answered(true).next().is_none() {
        let now = Duration::from_secs_f64(last.unwrap_or_default());
        return NextAction::Recheck { after: now + again, past_cache: true };
    }
    match times.into_iter().find(|time| last.is_none_or(|last| time.as_secs_f64() > last)) {
        Some(after) => NextAction::Recheck { after: after + again, past_cache: false },
        None => NextAction::Done(StaleKind::Stuck),
    }
}

/// What is known when no more rechecks can be made.
pub(super) fn kind_so_far(rechecks: &[Recheck]) -> StaleKind {
    let stale = |past_cache: bool| {
        rechecks.iter().any(|recheck| recheck.past_cache == past_cache && recheck.stale == Some(true))
    };
    if stale(true) {
        StaleKind::SourceRegressed
    } else if stale(false) {
        StaleKind::Stuck
    } else {
        StaleKind::Unclassified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classifies an item that is stale on the cached path until `until` seconds, and without the cache where `source`.
    fn classified(ttl: Option<u64>, can_bypass: bool, until: f64, source: bool) -> (StaleKind, Vec<Recheck>) {
        let spec = FreshnessSpec { ttl: ttl.map(Duration::from_secs), ..FreshnessSpec::default() };
        let mut rechecks = Vec::new();
        loop {
            match next(&spec, can_bypass, &rechecks) {
                NextAction::Done(kind) => return (kind, rechecks),
                NextAction::Recheck { after, past_cache } => {
                    let after = after.as_secs_f64();
                    let stale = if past_cache { source } else { after < until };
                    rechecks.push(Recheck { after, past_cache, version: None, stale: Some(stale) });
                    assert!(rechecks.len() < 10, "it never ends: {rechecks:?}");
                }
            }
        }
    }

    #[test]
    fn stale_items_are_classified_by_how_long_they_stay_stale() {
        for (ttl, can_bypass, until, source, kind) in [
            (Some(60), true, 0.4, false, StaleKind::Transient),
            (Some(60), true, 3.0, false, StaleKind::Stuck),
            (Some(60), true, 59.0, false, StaleKind::Stuck),
            (Some(60), true, 90.0, false, StaleKind::BeyondTtl),
            (Some(2), true, 90.0, false, StaleKind::BeyondTtl),
            (None, true, 90.0, false, StaleKind::Stuck),
            (None, false, 90.0, true, StaleKind::Stuck),
            (None, true, 90.0, true, StaleKind::SourceRegressed),
        ] {
            assert_eq!(classified(ttl, can_bypass, until, source).0, kind, "{ttl:?} {can_bypass} {until} {source}");
        }
    }

    #[test]
    fn the_uncached_path_is_read_once_and_only_where_the_item_stayed_stale() {
        let past = |rechecks: &[Recheck]| rechecks.iter().filter(|recheck| recheck.past_cache).count();
        assert_eq!(past(&classified(Some(60), true, 0.4, false).1), 0);
        assert_eq!(past(&classified(Some(60), true, 90.0, false).1), 1);
    }

    #[test]
    fn an_app_that_does_not_respond_is_read_again_a_limited_number_of_times() {
        let spec = FreshnessSpec::default();
        let mut rechecks = Vec::new();
        while let NextAction::Recheck { after, past_cache } = next(&spec, true, &rechecks) {
            let after = after.as_secs_f64();
            assert!(rechecks.last().is_none_or(|last: &Recheck| after > last.after), "later each time");
            rechecks.push(Recheck { after, past_cache, version: None, stale: None });
        }
        assert_eq!((rechecks.len(), kind_so_far(&rechecks)), (MAX_FAILED_RECHECKS + 1, StaleKind::Unclassified));
    }
}
