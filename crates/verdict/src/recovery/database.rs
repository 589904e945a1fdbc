//! How many queries per second the database executed, for questions about thousands of faults.

use cacheproof_core::measurements::Measurements;

/// A shorter time between two readings gives no rate, seconds.
const MIN_SECONDS: f64 = 0.5;

/// Queries per second between each two readings that follow each other.
#[derive(Default)]
pub(super) struct DatabaseRates {
    /// Start, end and rate, by their start.
    rates: Vec<(f64, f64, f64)>,
    /// By their end: the end, and the highest rate until then.
    highest_until: Vec<(f64, f64)>,
}

impl DatabaseRates {
    pub fn of(measurements: &Measurements) -> Self {
        let readings: Vec<(f64, u64, bool)> = measurements
            .samples
            .iter()
            .filter_map(|(at, sample)| {
                sample.postgres.as_ref().map(|postgres| (*at - postgres.age, postgres.queries, postgres.exact))
            })
            .collect();
        let mut rates: Vec<(f64, f64, f64)> = readings
            .windows(2)
            .filter(|pair| pair[0].2 == pair[1].2 && pair[1].0 - pair[0].0 > MIN_SECONDS && pair[1].1 >= pair[0].1)
            .map(|pair| (pair[0].0, pair[1].0, (pair[1].1 - pair[0].1) as f64 / (pair[1].0 - pair[0].0)))
            .collect();
        rates.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut highest = f64::NEG_INFINITY;
        let highest_until = rates
            .iter()
            .filter(|(from, _, _)| *from >= -0.5)
            .map(|(_, to, rate)| {
                highest = highest.max(*rate);
                (*to, highest)
            })
            .collect();
        rates.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { rates, highest_until }
    }

    /// The highest between two times.
    pub fn highest(&self, from: f64, to: f64) -> Option<f64> {
        let first = self.rates.partition_point(|(begin, _, _)| *begin < from - 0.5);
        let rates = self.rates[first..].iter().take_while(|(begin, _, _)| *begin <= to);
        rates.filter(|(_, end, _)| *end <= to).map(|(_, _, rate)| *rate).reduce(f64::max)
    }

    /// The highest of all that were over at a time.
    pub fn highest_before(&self, to: f64) -> Option<f64> {
        let after = self.highest_until.partition_point(|(end, _)| *end <= to);
        Some(self.highest_until.get(after.checked_sub(1)?)?.1)
    }
}
