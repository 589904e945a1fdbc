//! Hints: possible causes of what was measured. Each names the numbers behind it, and none says more than "looks like".

use cacheproof_core::journal::SliceCounts;
use cacheproof_core::measurements::TimeSlice;
use cacheproof_core::scenario::{FaultAction, FaultSpec, Scenario, Victim};

use super::super::numbers::{count, moment, plain, share, time};
use super::{DatabaseRates, FaultOutcome, HitRateRecovery, LimitViolation, Recovery, between};

/// Open intervals that breakers have by default (resilience4j 60 s, Polly and Hystrix 5 s, gobreaker 60 s), and common
/// choices, seconds.
const OPEN_INTERVALS: [f64; 7] = [5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0];
/// Largest difference from such an interval, as a share of it.
const INTERVAL_TOLERANCE: f64 = 0.04;
/// Shorter waits get no hint, seconds.
const MIN_NOTABLE_SECONDS: f64 = 1.0;
/// What has not recovered after this time, seconds, looks permanent.
const PERMANENT_AFTER_SECONDS: f64 = 5.0;
/// A shorter time outside the limits after the recovery, seconds, is noise.
const MIN_RELAPSE_SECONDS: f64 = 0.5;
/// Response times are alike where their 95th percentile is at most so many times their median.
const MAX_P95_TO_MEDIAN: f64 = 1.6;

pub(super) fn hints(
    scenario: &Scenario,
    database: &DatabaseRates,
    slices: &[TimeSlice],
    outcome: &FaultOutcome,
) -> Vec<String> {
    let spec = scenario.phases.get(outcome.window.phase).and_then(|phase| phase.faults.get(outcome.window.fault));
    let of_cache = spec.is_some_and(|spec| {
        matches!(spec.victim, Victim::Redis | Victim::RedisReplica | Victim::Sentinels)
            || spec.action == FaultAction::Partition
    });
    let mut hints = Vec::new();
    hints.extend(timeout_or_queue_hint(spec, slices, outcome));
    hints.extend(absorbed(outcome));
    let late_use = if of_cache && !keeps_connections(spec) { late_cache_use_hint(slices, outcome) } else { None };
    hints.extend(late_use.or_else(|| late_service(spec, slices, outcome)));
    hints.extend(outcome.hit_rate.as_ref().and_then(refilled));
    hints.extend(stampede_hint(database, outcome));
    if outcome.relapse >= MIN_RELAPSE_SECONDS {
        hints.push(format!("It was outside its limits again for {} after it had recovered.", moment(outcome.relapse)));
    }
    hints
}

/// Half of all responses are slow while the victim does not answer. Where they are alike all the time, each request
/// waits for the same timeout; where they spread out or become slower, they queue.
fn timeout_or_queue_hint(spec: Option<&FaultSpec>, slices: &[TimeSlice], outcome: &FaultOutcome) -> Option<String> {
    let limits = outcome.limits.as_ref()?;
    let until = outcome.window.undone.or(outcome.over)?;
    if spec.is_none_or(|spec| spec.action.only_slows()) {
        return None;
    }
    let during: Vec<&TimeSlice> = between(slices, outcome.window.from, until)
        .iter()
        .filter(|slice| slice.from >= outcome.window.from && slice.to <= until && slice.counts.answered > 0)
        .collect();
    let median_of = |slices: &[&TimeSlice], value: fn(&SliceCounts) -> u64| {
        let mut values: Vec<u64> = slices.iter().map(|slice| value(&slice.counts)).collect();
        values.sort_unstable();
        values.get(values.len() / 2).map(|value| *value as f64 / 1e9)
    };
    let (median, p95) = (median_of(&during, |counts| counts.p50)?, median_of(&during, |counts| counts.p95)?);
    if during.len() < 10 || median <= limits.p95 * 2.0 {
        return None;
    }
    // Before the first timeout is over, no request that waits for it was answered: the beginning shows nothing.
    let (early, late) = during[during.len() / 5..].split_at(during.len() * 2 / 5);
    let (early, late) = (median_of(early, |counts| counts.p50)?, median_of(late, |counts| counts.p50)?);
    let took = format!("Half of the answers took {} or more for as long as it lasted", time(median));
    Some(if late > early * MAX_P95_TO_MEDIAN {
        format!(
            "{took}, rising from {} to {}: looks like a queue, because the fallback can't carry the load.",
            time(early),
            time(late)
        )
    } else if p95 <= median * MAX_P95_TO_MEDIAN {
        format!(
            "{took}, and few took much more: looks like every request waits for a timeout of about that; with a circuit breaker only a few would."
        )
    } else {
        format!(
            "{took}, some of them {} and more: looks like a queue, because the fallback can't carry the load.",
            time(p95)
        )
    })
}

/// Whether clients keep their connections to the victim.
fn keeps_connections(spec: Option<&FaultSpec>) -> bool {
    spec.is_some_and(|spec| spec.action.keeps_connections())
}

fn absorbed(outcome: &FaultOutcome) -> Option<String> {
    let (at, noticed) = (outcome.absorbed?, outcome.noticed?);
    let undone = outcome.window.undone?;
    (undone - at >= MIN_NOTABLE_SECONDS).then(|| {
        format!(
            "Inside the limits again {} after the injection and {} before it was undone: a fallback, a breaker or a \
             failover took over.",
            time(at - outcome.window.from.min(noticed)),
            moment(undone - at)
        )
    })
}

/// What a wait of this length looks like, from the time when the server was up again. `outage`: how long it was down.
fn looks_like(after: f64, since_injection: f64, outage: f64) -> String {
    let near = |interval: &f64| (after / interval - 1.0).abs() <= INTERVAL_TOLERANCE;
    // A breaker that opened at the injection tries again after its interval. Short intervals would match any time.
    let from_injection =
        |interval: &f64| *interval >= 10.0 && (since_injection / interval - 1.0).abs() <= INTERVAL_TOLERANCE / 2.0;
    let known = || OPEN_INTERVALS.iter();
    if let Some(interval) = known().find(|interval| near(interval)) {
        return format!("looks like a breaker's open interval ({} s)", plain(*interval));
    }
    if let Some(interval) = known().find(|interval| from_injection(interval)) {
        return format!("{} s since the injection, looks like a breaker's open interval", plain(*interval));
    }
    if outage > 0.0 && after <= outage * 1.2 {
        return format!(
            "looks like a client's reconnect backoff: waits that double reach that length in an outage of {}",
            moment(outage)
        );
    }
    "looks like a fixed wait somewhere: a breaker's open interval, a pool's retry, a repeated name lookup".to_owned()
}

/// When responses came from the cache again, after its server was up again.
fn late_cache_use_hint(slices: &[TimeSlice], outcome: &FaultOutcome) -> Option<String> {
    let base = outcome.over?;
    // A server that takes a while to start works later than its fault was undone.
    let there = outcome.window.back.unwrap_or(base).max(base);
    let (injected, watched) = (outcome.window.from, outcome.watched_to - there);
    let mut before = between(slices, injected - 5.0, injected)
        .iter()
        .filter(|slice| slice.from >= injected - 5.0 && slice.to <= injected);
    // Nothing can be said of an app whose responses are not labelled as hits or misses.
    if before.all(|slice| slice.counts.reads() == 0) {
        return None;
    }
    let is_hit =
        |slice: &&TimeSlice| slice.from >= there - 0.1 && slice.to <= outcome.watched_to && slice.counts.hits > 0;
    let first = between(slices, there - 0.1, outcome.watched_to).iter().find(is_hit);
    match first {
        None if watched >= PERMANENT_AFTER_SECONDS => Some(format!(
            "No response came from the cache in the {} after its server was up again: looks like connections \
             that are never reopened, or a breaker that never closes.",
            moment(watched)
        )),
        Some(slice) if slice.from - there >= MIN_NOTABLE_SECONDS => {
            let after = slice.from - there;
            Some(format!(
                "{} after the server was up again, the first response came from the cache: {}.",
                moment(after),
                looks_like(after, slice.from - injected, there - injected)
            ))
        }
        _ => None,
    }
}

/// A service that does not recover although the fault is undone.
fn late_service(spec: Option<&FaultSpec>, slices: &[TimeSlice], outcome: &FaultOutcome) -> Option<String> {
    let base = outcome.base?;
    let there = outcome.window.back.unwrap_or(base).max(base);
    match outcome.service {
        Recovery::NotWithin(watched) if watched >= PERMANENT_AFTER_SECONDS && ends_incorrect(slices, outcome) => {
            Some(format!("Not back within {}: the answers were still stale or wrong.", moment(watched)))
        }
        Recovery::NotWithin(watched) if watched >= PERMANENT_AFTER_SECONDS => {
            let looks = match keeps_connections(spec) {
                true => "a queue that never drains",
                false => "connections that are never reopened, or a queue that never drains",
            };
            Some(format!("Not back within {}: looks like {looks}.", moment(watched)))
        }
        Recovery::NotWithin(watched) => Some(format!(
            "Watched for {} only, before the next fault or the end: too short to tell whether it comes back.",
            moment(watched)
        )),
        Recovery::After(_) if outcome.noticed_by != Some(LimitViolation::Incorrect) => {
            let at = outcome.recovered_at()?;
            let after = at - there;
            let looks = match keeps_connections(spec) {
                true => "looks like a queue that had to drain".to_owned(),
                false => looks_like(after, at - outcome.window.from, there - outcome.window.from),
            };
            (after >= MIN_NOTABLE_SECONDS).then(|| format!("{} after the fault had ended: {looks}.", moment(after)))
        }
        _ => None,
    }
}

/// Whether what was outside the limits at the end were stale and wrong answers, and nothing else. They come from no connection
/// or queue.
fn ends_incorrect(slices: &[TimeSlice], outcome: &FaultOutcome) -> bool {
    let Some(limits) = &outcome.limits else { return false };
    let from = outcome.watched_to - PERMANENT_AFTER_SECONDS;
    let mut last = SliceCounts::default();
    let mut slowest = 0;
    for slice in between(slices, from, outcome.watched_to) {
        last.add(&slice.counts);
        slowest = slowest.max(slice.counts.p95);
    }
    let share = |part: u64| part as f64 / last.requests().max(1) as f64;
    let is_slow = slowest as f64 / 1e9 > limits.p95;
    share(last.stale + last.wrong) > limits.incorrect && share(last.errors) <= limits.errors && !is_slow
}

/// The recovery of the hit rate, compared with what a cold cache allows.
fn refilled(hit_rate: &HitRateRecovery) -> Option<String> {
    if hit_rate.lowest.is_none_or(|lowest| lowest >= hit_rate.target) {
        return None;
    }
    if hit_rate.is_kept_elsewhere {
        let is_quick = matches!(hit_rate.back, Recovery::After(took) if took < MIN_NOTABLE_SECONDS);
        return is_quick.then(|| {
            "Redis was emptied, and the hit rate rose faster than a cold cache can fill: the app kept values, or what it \
             read meanwhile, and stored them again."
                .to_owned()
        });
    }
    let expected = hit_rate.expected?;
    match hit_rate.back {
        Recovery::After(took) if took > expected * 2.0 + 2.0 => Some(format!(
            "The hit rate was back after {}, where a cold cache with these reads is back after {} on average: fills were lost, or came late.",
            moment(took),
            moment(expected)
        )),
        Recovery::NotWithin(watched) if watched < expected => Some(format!(
            "Watched for {}; a cold cache with these reads needs {} on average to be back at {}.",
            moment(watched),
            moment(expected),
            share(hit_rate.target)
        )),
        Recovery::NotWithin(watched) => Some(format!(
            "The hit rate was not back within {}, where a cold cache with these reads is back after {} on average.",
            moment(watched),
            moment(expected)
        )),
        _ => None,
    }
}

/// The busiest second of the database since the injection, compared with those before.
fn stampede_hint(database: &DatabaseRates, outcome: &FaultOutcome) -> Option<String> {
    let busiest = database.highest(outcome.window.from, outcome.watched_to)?;
    let requests: u64 = outcome.impact.counts.requests();
    let arrivals = outcome.limits.as_ref()?.usual;
    // Without the cache, each request causes one query or a few; many times that has another cause.
    let before = database.highest_before(outcome.window.from)?;
    (busiest > before * 3.0 && busiest > arrivals * 3.0 && requests > 0).then(|| {
        format!(
            "The database executed up to {} queries per second, {} times the highest rate before it: looks like retries or a \
             stampede, at {} requests per second.",
            count(busiest.round() as u64),
            plain(busiest / before.max(1.0)),
            count(arrivals.round() as u64)
        )
    })
}
