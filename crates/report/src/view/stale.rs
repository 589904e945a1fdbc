//! Stale reads: how many, how old, of which kind, and examples with the history of each.

use std::collections::BTreeMap;

use serde::Serialize;

use cacheproof_core::journal::{
    CachePath, FreshnessPoint, Histogram, HistoryEntry, Recheck, StaleClassification, StaleKind, StaleRead,
};
use cacheproof_core::numbers;
use cacheproof_verdict::{clopper_pearson_upper_bound, stale_reads};

use super::ReportInput;

/// How many examples are shown.
const MAX_EXAMPLES: usize = 10;

/// The reads judged for freshness, warm-up left out. Also `freshness` of summary.json: times in seconds.
#[derive(Serialize)]
pub(crate) struct StaleSummary<'a> {
    /// Reads that could be judged, probe reads among them; without versions, items compared while no request was in flight.
    pub judged: u64,
    /// How many of them were stale.
    pub stale: u64,
    /// The true share lies below this with 95 % confidence.
    pub bound: f64,
    /// Whether answers carried versions; otherwise only what was compared while no request was in flight is known.
    pub versions: bool,
    /// Reads older than an earlier read, though not older than an acknowledged write.
    pub non_monotonic: u64,
    /// Reads of what a write of unknown outcome may have stored: not judged.
    pub indeterminate: u64,
    pub kinds: BTreeMap<StaleKind, u64>,
    pub age_at_least: Option<AgePercentiles>,
    pub age_at_most: Option<AgePercentiles>,
    pub curve: Vec<CurvePoint>,
    pub examples: Vec<StaleExample<'a>>,
    /// Examples in the journal beyond these.
    pub more_examples: usize,
}

/// How long stale answers had been superseded, seconds.
#[derive(Serialize)]
pub(crate) struct AgePercentiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// One step of P(fresh) by the time since the acknowledgement; the last has no end.
#[derive(Serialize)]
pub(crate) struct CurvePoint {
    from: f64,
    to: Option<f64>,
    fresh: u64,
    stale: u64,
}

/// One stale read.
#[derive(Serialize)]
pub(crate) struct StaleExample<'a> {
    /// When it was recorded, seconds since the run began.
    pub at: f64,
    pub phase: &'a str,
    pub path: CachePath,
    pub request: &'a str,
    pub kind: StaleKind,
    #[serde(flatten)]
    pub read: StaleReadJson<'a>,
    /// Every recheck.
    pub looks: &'a [Recheck],
    pub history: &'a [HistoryEntry],
}

/// The part of an example that is copied from the journal.
#[derive(Serialize)]
pub(crate) struct StaleReadJson<'a> {
    pub call: &'a str,
    pub item: &'a str,
    pub probe: bool,
    pub detail: &'a str,
    pub version: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub versions_are_times: bool,
    pub floor: u64,
    pub gone: bool,
    pub age_at_least: f64,
    pub age_at_most: f64,
    pub since_ack: Option<f64>,
}

/// `None` where no read was judged.
pub(super) fn stale_summary(input: ReportInput<'_>) -> Option<StaleSummary<'_>> {
    let ReportInput { scenario, measurements, .. } = input;
    let judged = |phase: usize| scenario.is_judged(phase);
    let phases: Vec<usize> = (0..scenario.phases.len()).filter(|phase| judged(*phase)).collect();
    let (stale, reads) = stale_reads(measurements, scenario.has_versions(), &phases, |key| judged(key.phase));
    if reads == 0 && measurements.stale_reads.is_empty() {
        return None;
    }
    let counts = measurements.freshness(|key| judged(key.phase));
    let point = |point: FreshnessPoint| CurvePoint {
        from: point.from,
        to: point.to.is_finite().then_some(point.to),
        fresh: point.fresh,
        stale: point.stale,
    };
    // Some may lack a class: the run ended before their recheck, or too many were being rechecked.
    let of = |kind| measurements.stale_of_kind(kind, |key| judged(key.phase));
    let mut kinds: BTreeMap<StaleKind, u64> = StaleKind::ALL.into_iter().map(|kind| (kind, of(kind))).collect();
    let classified: u64 =
        kinds.iter().filter(|(kind, _)| **kind != StaleKind::Unclassified).map(|(_, count)| count).sum();
    let versions = scenario.has_versions();
    kinds.insert(StaleKind::Unclassified, if versions { stale.saturating_sub(classified) } else { 0 });
    Some(StaleSummary {
        judged: reads,
        stale,
        bound: clopper_pearson_upper_bound(stale, reads),
        versions,
        non_monotonic: counts.non_monotonic,
        indeterminate: counts.indeterminate,
        kinds,
        age_at_least: counts.age_at_least.as_ref().and_then(ages),
        age_at_most: counts.age_at_most.as_ref().and_then(ages),
        curve: measurements.freshness_curve(|key| judged(key.phase)).into_iter().map(point).collect(),
        examples: measurements
            .stale_reads
            .iter()
            .take(MAX_EXAMPLES)
            .map(|(at, read)| example(input, *at, read))
            .collect(),
        more_examples: measurements.stale_reads.len().saturating_sub(MAX_EXAMPLES),
    })
}

/// Stale reads in two lines for the terminal: how many of which kind, and the first example.
pub fn stale_lines(input: ReportInput<'_>) -> Vec<String> {
    let Some(summary) = stale_summary(input).filter(|summary| summary.stale > 0) else {
        return Vec::new();
    };
    let mut lines = vec![summary.sentences().join(" ")];
    lines.extend(summary.examples.first().map(|example| {
        let (read, kind) = (&example.read, example.kind.as_str());
        format!("For example {} in '{}': {kind} — {}; {}", read.call, example.phase, read.detail, example.age())
    }));
    lines
}

fn ages(histogram: &Histogram) -> Option<AgePercentiles> {
    let at = |q| histogram.quantile(q).map(|nanoseconds| nanoseconds as f64 / 1e9);
    Some(AgePercentiles { p50: at(0.5)?, p99: at(0.99)?, max: histogram.max()? as f64 / 1e9 })
}

fn example<'a>(input: ReportInput<'a>, at: f64, read: &'a StaleRead) -> StaleExample<'a> {
    let classification: Option<&StaleClassification> =
        input.measurements.stale_classifications.iter().find(|classification| classification.id == read.id);
    StaleExample {
        at,
        phase: input.phase_name(read.of.phase),
        path: read.of.path,
        request: input.request_name(read.of.request),
        kind: classification.map_or(StaleKind::Unclassified, |classification| classification.kind),
        read: StaleReadJson {
            call: &read.call,
            item: &read.item,
            probe: read.probe,
            detail: &read.detail,
            version: read.version,
            versions_are_times: read.versions_are_times,
            floor: read.floor,
            gone: read.gone,
            age_at_least: read.age_at_least,
            age_at_most: read.age_at_most,
            since_ack: read.since_ack,
        },
        looks: classification.map_or(&[], |classification| &classification.rechecks),
        history: &read.history,
    }
}

impl StaleSummary<'_> {
    /// The numbers in sentences.
    pub fn sentences(&self) -> Vec<String> {
        let of = if self.versions { "judged reads" } else { "items compared while no request was in flight" };
        let (judged, bound) = (numbers::count(self.judged), numbers::share(self.bound));
        let were = |count: u64| if count == 1 { "was" } else { "were" };
        let sure = format!("the true share is below {bound} with 95 % confidence");
        let mut all = vec![match self.stale {
            _ if self.judged == 0 => "No read of a judged phase could be judged.".to_owned(),
            0 => format!("None of {judged} {of} was stale: {sure}."),
            stale if stale >= self.judged => format!("All {judged} {of} were stale."),
            stale => format!("{} of {judged} {of} {} stale: {sure}.", numbers::count(stale), were(stale)),
        }];
        if !self.versions {
            all.push(
                "Answers carry no version. So cached and uncached answers were compared only while no request was in flight. \
                 Answers that were stale for a while are not found."
                    .to_owned(),
            );
        }
        let kinds: Vec<String> = StaleKind::ALL
            .iter()
            .filter_map(|kind| Some((kind, *self.kinds.get(kind)?)))
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| format!("{} {}", numbers::count(count), kind.as_str()))
            .collect();
        if !kinds.is_empty() {
            all.push(format!("By kind: {}.", kinds.join(", ")));
        }
        let ages = |ages: &AgePercentiles| {
            let [p50, p99, max] = [ages.p50, ages.p99, ages.max].map(numbers::time);
            format!("P50 {p50}, P99 {p99}, max {max}")
        };
        if let Some(least) = &self.age_at_least {
            let most = self.age_at_most.as_ref().map_or_else(String::new, |most| {
                format!("; for at most (since the earliest possible time of the write): {}", ages(most))
            });
            all.push(format!("Out of date for at least: {}{most}.", ages(least)));
        }
        if self.non_monotonic > 0 {
            let (count, one) = (numbers::count(self.non_monotonic), self.non_monotonic == 1);
            all.push(format!(
                "{count} {} older than an earlier read, though not older than an acknowledged write.",
                if one { "read was" } else { "reads were" }
            ));
        }
        if self.indeterminate > 0 {
            let (count, one) = (numbers::count(self.indeterminate), self.indeterminate == 1);
            all.push(format!(
                "{count} {} not judged: the version may come from a write of unknown outcome.",
                if one { "read was" } else { "reads were" }
            ));
        }
        all
    }
}

impl StaleExample<'_> {
    /// How long it had been superseded, in words.
    pub fn age(&self) -> String {
        let (least, most) = (numbers::time(self.read.age_at_least), numbers::time(self.read.age_at_most));
        if least == most { format!("out of date for {least}") } else { format!("out of date for {least} to {most}") }
    }

    /// What the rechecks saw, in words.
    pub fn describe_rechecks(&self) -> Vec<String> {
        let recheck = |look: &Recheck| {
            let way = if look.past_cache { "with the cache bypassed" } else { "the same way" };
            let found = match (look.version, look.stale) {
                (version, Some(stale)) => {
                    let version =
                        version.map_or_else(String::new, |version| format!("version {}, ", self.version_text(version)));
                    format!("{version}{}", if stale { "still stale" } else { "no longer stale" })
                }
                (Some(version), None) => format!("version {}", self.version_text(version)),
                (None, None) => "no usable answer".to_owned(),
            };
            format!("{} later, {way}: {found}", numbers::time(look.after))
        };
        if self.looks.is_empty() { vec!["not rechecked".to_owned()] } else { self.looks.iter().map(recheck).collect() }
    }

    /// A version, for people.
    pub fn version_text(&self, version: u64) -> String {
        numbers::version(version, self.read.versions_are_times)
    }

    /// Whether a line of the history is the stale read itself.
    pub fn is_stale_read(&self, event: &HistoryEntry) -> bool {
        event.from == 0.0 && event.what == "read" && event.version == self.read.version
    }
}

/// A time relative to the stale read: `−75 ms`, `+8 ms`, `0`.
pub(crate) fn relative(seconds: f64) -> String {
    match seconds {
        0.0 => "0".to_owned(),
        later if later > 0.0 => format!("+{}", numbers::time(later)),
        earlier => numbers::time(earlier),
    }
}
