//! HdrHistogram with three significant digits over nanoseconds, and its form in the journal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::Error as _;

use crate::secrets::as_verbatim;

/// Times in nanoseconds, kept to three significant digits (0.1 %), any number of them in bounded memory.
///
/// In JSON it is the base64 of HdrHistogram's V2 deflate format, which every HdrHistogram library reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram. It grows with the largest value recorded.
    pub fn new() -> Self {
        Self(hdrhistogram::Histogram::new(3).expect("three digits are in the crate's range"))
    }

    /// Adds one time.
    pub fn record(&mut self, nanoseconds: u64) {
        // `saturating_record` alone would clamp to the present range instead of growing. A growing histogram takes
        // every value below u64::MAX / 2 (292 years); larger ones count as its largest value.
        if self.0.record(nanoseconds).is_err() {
            self.0.saturating_record(nanoseconds);
        }
    }

    /// Adds all values of another.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("an auto-resizing histogram takes every value");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that the share `q` (0 to 1) of all values does not exceed, in nanoseconds. `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.value_at_quantile(q))
    }

    /// The largest, in nanoseconds, to three digits. `None` when empty.
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.max())
    }
}

impl serde::Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(S::Error::custom)?;
        // It holds numbers: what looks like a secret in it is none.
        as_verbatim(&STANDARD_NO_PAD.encode(bytes), serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let mut inner: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)?;
        inner.auto(true);
        Ok(Self(inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_the_journal() {
        let mut before = Histogram::new();
        for value in [1, 90, 5_000, 150_000_000, 61_000_000_000] {
            before.record(value);
        }
        let text = serde_json::to_string(&before).expect("it serialises");
        let mut after: Histogram = serde_json::from_str(&text).expect("it is read back");
        assert_eq!(after.count(), 5);
        let near = |value: Option<u64>, wanted: u64| value.is_some_and(|value| value.abs_diff(wanted) <= wanted / 500);
        assert!(near(before.max(), 61_000_000_000), "it grew to the largest value: {:?}", before.max());
        assert!(near(before.quantile(0.5), 5_000), "to three digits: {:?}", before.quantile(0.5));
        assert_eq!(after.quantile(0.5), before.quantile(0.5));
        assert_eq!(after.max(), before.max());
        after.record(300_000_000_000);
        assert_eq!(after.count(), 6, "a histogram that was read back still grows");
    }
}
