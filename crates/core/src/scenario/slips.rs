//! Limits that are right by the grammar and mean something else than a reader takes them for.

use super::Op;
use crate::metrics::{Dimension, Metric, as_percent};

/// What is wrong, and what to write instead.
type Refusal = (String, String);

/// A number with a decimal point where things are counted: almost always a share without its `%`. `0.0` is accepted: no
/// reading of it makes a difference.
pub(super) fn fraction_of_count(metric: Metric, op: Op, number: f64, written: &str) -> Option<Refusal> {
    let dimension = metric.definition().dimension;
    if !matches!(dimension, Dimension::Count | Dimension::CountOrShare) || !written.contains('.') || number == 0.0 {
        return None;
    }
    let mut ways = Vec::new();
    if let Some(share) = as_share(metric, op, number) {
        ways.push(share);
    }
    ways.extend(as_count(metric, op, number));
    let message = format!("{metric} counts in whole numbers, and {written} is written as a fraction");
    Some((message, format!("write {}", ways.join(", or "))))
}

/// The rule on the share that was probably meant.
fn as_share(metric: Metric, op: Op, number: f64) -> Option<String> {
    // 0.9 is 90 %, 1.5 is 1.5 %, and 1.0 may be either of two.
    let percent = match number {
        _ if number > 100.0 => return None,
        1.0 => "1% or 100".to_owned(),
        _ if number < 1.0 => as_percent(number),
        _ => number.to_string(),
    };
    match (metric.to_string().as_str(), metric.definition().dimension) {
        ("hits", _) => Some(format!("hit_rate {op} {percent}% for a share of the reads")),
        ("db_queries", _) => Some(format!("db_queries_per_request {op} {number} for those of a request")),
        ("misses", _) if number < 1.0 => {
            let hits = as_percent(((1.0 - number) * 1e12).round() / 1e12);
            Some(format!("hit_rate {} {hits}% for a share of the reads", mirrored(op)))
        }
        (name, Dimension::CountOrShare) => Some(format!("{name} {op} {percent}% for a share of the requests")),
        _ => None,
    }
}

/// The rule in whole numbers that is true of the same counts.
fn as_count(metric: Metric, op: Op, number: f64) -> Option<String> {
    let floor = number.floor();
    let is_whole = floor == number;
    let rule = match op {
        _ if is_whole => format!("{metric} {op} {floor}"),
        Op::Less | Op::AtMost if floor == 0.0 => return Some(format!("{metric} == 0 for none at all")),
        Op::Less | Op::AtMost => format!("{metric} <= {floor}"),
        Op::More | Op::AtLeast => format!("{metric} > {floor}"),
        Op::Equal | Op::NotEqual => return Some("a whole number for a count".to_owned()),
    };
    Some(format!("{rule} for a count"))
}

fn mirrored(op: Op) -> Op {
    match op {
        Op::Less => Op::More,
        Op::AtMost => Op::AtLeast,
        Op::AtLeast => Op::AtMost,
        Op::More => Op::Less,
        Op::Equal | Op::NotEqual => op,
    }
}

/// `availability > 0.99%`: a fraction with a `%` behind it. No deployment is built for less than one answer in a
/// hundred.
pub(super) fn fraction_in_percent(metric: Metric, op: Op, share: f64) -> Option<Refusal> {
    let dimension = metric.definition().dimension;
    // Of errors and stale answers, few are wanted; of fallbacks, as many as the outage takes.
    let is_share = dimension == Dimension::Share || metric.definition().name == "fallbacks";
    if !is_share || !matches!(op, Op::More | Op::AtLeast) || share == 0.0 || share >= 0.01 {
        return None;
    }
    let written = as_percent(share);
    let meant = written.parse().map_or_else(|_| written.clone(), as_percent);
    let message = format!("{written}% is less than one in a hundred: a fraction is not in percent");
    Some((message, format!("write {metric} {op} {meant}%, or {metric} > 0% for any at all")))
}

/// A count compared with the number of requests: the share that was meant.
pub(super) fn share_of_requests(metric: Metric, op: Op, factor: f64) -> Option<String> {
    if !(factor > 0.0 && factor < 1.0) {
        return None;
    }
    let percent = as_percent(factor);
    match metric.to_string().as_str() {
        "hits" => Some(format!("write hit_rate {op} {percent}%")),
        name if metric.definition().dimension == Dimension::CountOrShare => {
            Some(format!("write {name} {op} {percent}%, which is a share of the requests"))
        }
        _ => None,
    }
}
