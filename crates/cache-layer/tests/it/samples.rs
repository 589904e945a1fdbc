//! What the metrics say at a moment.

use cache_layer::Metrics;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::fmt;

/// The text that Prometheus would get; printed where a test fails.
pub struct Samples(String);

impl Samples {
    pub fn of(metrics: &Metrics) -> Self {
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        encode(&mut text, &registry).expect("a string");
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// The sum of the counters whose name and labels begin with this; 0 if there are none.
    pub fn sum(&self, start: &str) -> u64 {
        self.sum_with(start, "")
    }

    /// Of those that have this among their labels as well.
    pub fn sum_with(&self, start: &str, label: &str) -> u64 {
        let values = self.values(start, label);
        values.map(|value| value.parse::<u64>().expect("a count")).sum()
    }

    /// The first sample whose name and labels begin with this.
    pub fn one(&self, start: &str) -> f64 {
        self.values(start, "").next().unwrap_or_else(|| panic!("no {start} in {self}")).parse().expect("a number")
    }

    fn values(&self, start: &str, label: &str) -> impl Iterator<Item = &str> {
        let samples = self.0.lines().filter(move |line| line.starts_with(start) && line.contains(label));
        samples.map(|line| line.rsplit(' ').next().expect("a value"))
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
