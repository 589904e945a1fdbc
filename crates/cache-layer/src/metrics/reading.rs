//! The metrics as numbers again, read from the very text that Prometheus gets: statistics and graphs cannot disagree.

use super::Metrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Reading {
    samples: Vec<Sample>,
}

#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Labels that a sample must have.
type Wanted<'a> = &'a [(&'a str, &'a str)];

impl Reading {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        // Writing to a string does not fail.
        encode(&mut text, &registry).ok();
        Self { samples: text.lines().filter_map(parse).collect() }
    }

    /// The sum of all samples of a name that have these labels.
    pub(crate) fn sum(&self, name: &str, wanted: Wanted<'_>) -> u64 {
        let sum: f64 = self.matching(name, wanted).map(|sample| sample.value).sum();
        // Counts: far below 2^53, and never negative.
        sum as u64
    }

    /// A single value, if it is there.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.matching(name, &[]).next().map(|sample| sample.value)
    }

    /// Sums by the values of one label.
    pub(crate) fn by(&self, name: &str, label: &str, wanted: Wanted<'_>) -> BTreeMap<String, u64> {
        let values = self.matching(name, wanted).filter_map(|sample| sample.label(label));
        let values: BTreeSet<_> = values.map(str::to_owned).collect();
        let sum = |value: &str| {
            let samples = self.matching(name, wanted).filter(|sample| sample.label(label) == Some(value));
            samples.map(|sample| sample.value).sum::<f64>() as u64
        };
        values.into_iter().map(|value| (value.clone(), sum(&value))).collect()
    }

    /// The mean of a histogram in seconds.
    pub(crate) fn mean(&self, name: &str, wanted: Wanted<'_>) -> Option<Duration> {
        let total = |suffix| self.matching(&format!("{name}_{suffix}"), wanted).map(|sample| sample.value).sum::<f64>();
        let (sum, count) = (total("sum"), total("count"));
        (count > 0.0).then(|| Duration::from_secs_f64((sum / count).max(0.0)))
    }

    /// A quantile of a histogram in seconds: linear within its bucket, as `histogram_quantile` of Prometheus has it. What lies
    /// above the last bound is shown as that bound.
    pub(crate) fn quantile(&self, name: &str, wanted: Wanted<'_>, q: f64) -> Option<Duration> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.matching(&format!("{name}_bucket"), wanted) {
            let bound =
                sample.label("le").and_then(|le| if le == "+Inf" { Some(f64::INFINITY) } else { le.parse().ok() });
            let Some(bound) = bound else { continue };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = buckets.last().filter(|(_, count)| *count > 0.0)?.1 * q;
        let at = buckets.iter().position(|(_, count)| *count >= wanted)?;
        let (lower, below) = at.checked_sub(1).map_or((0.0, 0.0), |before| buckets[before]);
        let (upper, count) = buckets[at];
        let seconds = if upper.is_infinite() {
            lower
        } else {
            lower + (upper - lower) * ((wanted - below) / (count - below).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
        };
        Some(Duration::from_secs_f64(seconds))
    }

    fn matching<'a>(&'a self, name: &'a str, wanted: Wanted<'a>) -> impl Iterator<Item = &'a Sample> {
        let has = |sample: &&Sample| wanted.iter().all(|(label, value)| sample.label(label) == Some(*value));
        self.samples.iter().filter(move |sample| sample.name == name).filter(has)
    }
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// One line of OpenMetrics text: `name{label="value",…} number`; comments are none.
fn parse(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label.trim_start_matches(',').to_owned(), value));
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, its escapes undone, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> Reading {
        Reading { samples: text.lines().filter_map(parse).collect() }
    }

    #[test]
    fn lines_are_read_with_their_labels_and_escapes() {
        let parsed = parse(r#"hits_total{class="a \"b\" \\ c,d}",kind="x"} 5"#).expect("a sample");
        assert_eq!(parsed.label("class"), Some(r#"a "b" \ c,d}"#));
        assert_eq!((parsed.label("kind"), parsed.value), (Some("x"), 5.0));
        assert_eq!(parse("gauge -1").map(|sample| sample.value), Some(-1.0));
        for none in ["# TYPE hits counter", "# EOF", "", "hits{", "hits{a=\"b", "hits x"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn sums_are_taken_over_labels() {
        let reading = reading("n{a=\"1\",b=\"x\"} 1\nn{a=\"1\",b=\"y\"} 2\nn{a=\"2\",b=\"x\"} 4\nm 9");
        assert_eq!(reading.sum("n", &[]), 7);
        assert_eq!(reading.sum("n", &[("b", "x")]), 5);
        assert_eq!(reading.by("n", "a", &[]), BTreeMap::from([("1".into(), 3), ("2".into(), 4)]));
        assert_eq!((reading.value("m"), reading.value("o")), (Some(9.0), None));
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let text = "t_bucket{le=\"1\"} 0\nt_bucket{le=\"2\"} 10\nt_bucket{le=\"4\"} 20\nt_bucket{le=\"+Inf\"} 20\nt_sum 45\nt_count 20";
        let (reading, seconds) = (reading(text), Duration::from_secs_f64);
        assert_eq!(reading.quantile("t", &[], 0.5), Some(seconds(2.0)));
        assert_eq!(reading.quantile("t", &[], 0.75), Some(seconds(3.0)));
        assert_eq!(reading.quantile("t", &[], 1.0), Some(seconds(4.0)));
        assert_eq!(reading.mean("t", &[]), Some(seconds(2.25)));
        assert_eq!(reading.quantile("u", &[], 0.5), None);
        let beyond = self::reading("t_bucket{le=\"1\"} 0\nt_bucket{le=\"+Inf\"} 3");
        assert_eq!(beyond.quantile("t", &[], 0.5), Some(seconds(1.0)), "the last bound there is");
    }
}
