//! Metrics of time: response time from the intended start, service time from the actual send.

use super::{Dimension, ErrorTreatment, Measured, MetricDefinition, MinSamples, Scope, Wording};
use crate::journal::{Histogram, Outcome};
use crate::measurements::Totals;

/// A mean or a maximum of fewer answers says nothing.
const FEW: MinSamples = MinSamples::AtLeast(20);

/// What the rows have in common.
const TIME: MetricDefinition =
    MetricDefinition { dimension: Dimension::Time, is_timing: true, can_be_steady: true, ..MetricDefinition::COMMON };

pub(super) static ROWS: &[MetricDefinition] = &[
    MetricDefinition {
        name: "p{}",
        synonyms: &[
            ("latency", "p95"),
            ("latency", "p50"),
            ("response_time", "p95"),
            ("response_time", "p50"),
            ("time", "p95"),
            ("time", "p50"),
            ("median", "p50"),
        ],
        min_samples: MinSamples::TenBeyond,
        measure: |scope| {
            let answered = scope.answered();
            let measured = percentile(scope, &answered.response);
            // The run counts response times above the limits of its rules, and no other times.
            Measured { exact: Some(answered), ..measured }
        },
        wording: Wording::Label("P{}"),
        ..TIME
    },
    MetricDefinition {
        name: "service.p{}",
        min_samples: MinSamples::TenBeyond,
        measure: |scope| percentile(scope, &scope.answered().service),
        wording: Wording::Label("service time P{}"),
        ..TIME
    },
    MetricDefinition {
        name: "mean",
        synonyms: &[
            ("latency", "mean"),
            ("response_time", "mean"),
            ("time", "mean"),
            ("avg", "mean"),
            ("average", "mean"),
        ],
        min_samples: FEW,
        measure: mean,
        wording: Wording::Label("mean"),
        ..TIME
    },
    MetricDefinition {
        name: "max",
        min_samples: FEW,
        measure: max,
        wording: Wording::Label("longest"),
        only_grows: true,
        ..TIME
    },
];

/// The percentile of the answers' times. Errors count as slower than all of them, or a quick refusal would make an
/// app look fast.
fn percentile(scope: &Scope<'_>, times: &Histogram) -> Measured {
    let q = scope.percentile;
    let errors = scope.outcomes(Outcome::Error);
    let sent = times.count() + errors;
    let beyond_any_limit =
        scope.errors != ErrorTreatment::Ignore && errors as f64 > (1.0 - q) * sent as f64 * (1.0 + 1e-9);
    if beyond_any_limit {
        return Measured { errors, beyond_any_limit, ..Measured::of(None, sent) };
    }
    let (samples, q, errors) = match scope.errors {
        ErrorTreatment::CountAsSlowest => (sent, (q * sent as f64 / times.count() as f64).min(1.0), errors),
        ErrorTreatment::Exclude | ErrorTreatment::Ignore => (times.count(), q, 0),
    };
    Measured { errors, ..Measured::of(times.quantile(q).map(seconds), samples) }
}

fn mean(scope: &Scope<'_>) -> Measured {
    let answered = scope.answered();
    // Quick errors must not make it better: errors may only make it worse.
    let with_errors = match scope.errors {
        ErrorTreatment::CountAsSlowest => scope.total(|_| true).mean(),
        ErrorTreatment::Exclude | ErrorTreatment::Ignore => None,
    };
    let value = answered.mean().map(|mean| mean.max(with_errors.unwrap_or(mean)) / 1e9);
    let missing_reason = scope.if_none_judged(answered.count(), "no request was answered");
    Measured { missing_reason, ..Measured::of(value, answered.count()) }
}

fn max(scope: &Scope<'_>) -> Measured {
    let answered: Totals = scope.answered();
    let errors = match scope.errors {
        ErrorTreatment::CountAsSlowest => scope.outcomes(Outcome::Error),
        ErrorTreatment::Exclude | ErrorTreatment::Ignore => 0,
    };
    let value = if errors > 0 { None } else { answered.response.max().map(seconds) };
    let measured = Measured::of(value, answered.count() + errors);
    Measured { errors, beyond_any_limit: errors > 0, exact: Some(answered), ..measured }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}
