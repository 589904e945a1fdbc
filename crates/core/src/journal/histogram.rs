//! HdrHistogram with three significant digits over nanoseconds, and its form in the journal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::de::Error as _;
use serde::ser::Error as _;

use super::buckets::{self, EncodedBuckets, SparseBuckets};
use crate::secrets::as_verbatim;

/// Times in nanoseconds, kept to three significant digits (0.1 %), any number of them in bounded memory.
///
/// In JSON it is the base64 of HdrHistogram's V2 deflate format, which every HdrHistogram library reads.
#[derive(Clone, Debug)]
pub struct Histogram(Counts);

/// A dense histogram takes some 200 KB whatever is in it: a run of hours has hundreds of thousands of them in its journal.
#[derive(Clone, Debug)]
enum Counts {
    /// Quick to record to: a count for every bucket up to the largest value.
    Dense(hdrhistogram::Histogram<u64>),
    /// The sum of others: the buckets that have a count.
    Sparse(SparseBuckets),
    /// As it was read, a byte or two for each bucket.
    Encoded(EncodedBuckets),
}

impl Default for Histogram {
    /// An empty one, to which others are added.
    fn default() -> Self {
        Self(Counts::Sparse(SparseBuckets::default()))
    }
}

impl Histogram {
    /// An empty one, to which values are recorded. It grows with the largest value.
    pub fn new() -> Self {
        Self(Counts::Dense(empty_dense()))
    }

    /// Adds one time.
    pub fn record(&mut self, nanoseconds: u64) {
        match &mut self.0 {
            // `saturating_record` alone would clamp to the present range instead of growing. A growing histogram takes
            // every value below u64::MAX / 2 (292 years); larger ones count as its largest value.
            Counts::Dense(dense) => {
                if dense.record(nanoseconds).is_err() {
                    dense.saturating_record(nanoseconds);
                }
            }
            Counts::Sparse(sparse) => sparse.add([(buckets::index_of(nanoseconds), 1)]),
            Counts::Encoded(encoded) => {
                let mut sparse = SparseBuckets::default();
                sparse.add(encoded.iter());
                self.0 = Counts::Sparse(sparse);
                self.record(nanoseconds);
            }
        }
    }

    /// Adds all values of another.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Counts::Dense(mine), Counts::Dense(theirs)) => {
                mine.add(theirs).expect("an auto-resizing histogram takes every value");
            }
            (Counts::Sparse(sparse), Counts::Encoded(theirs)) => sparse.add(theirs.iter()),
            (Counts::Sparse(sparse), Counts::Sparse(theirs)) => sparse.add(theirs.iter()),
            (Counts::Sparse(sparse), Counts::Dense(_)) => sparse.add(other.buckets()),
            (Counts::Dense(_) | Counts::Encoded(_), _) => {
                let mut sparse = SparseBuckets::default();
                sparse.add(self.buckets());
                sparse.add(other.buckets());
                self.0 = Counts::Sparse(sparse);
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        match &self.0 {
            Counts::Dense(dense) => dense.len(),
            Counts::Sparse(sparse) => sparse.count(),
            Counts::Encoded(encoded) => encoded.count(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many different values are kept: what its memory is for, where it is a sum of others.
    pub fn distinct(&self) -> usize {
        match &self.0 {
            Counts::Sparse(sparse) => sparse.len(),
            Counts::Dense(_) | Counts::Encoded(_) => self.buckets().count(),
        }
    }

    /// The value that the share `q` (0 to 1) of all values does not exceed, in nanoseconds. `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        match &self.0 {
            Counts::Dense(dense) => (!dense.is_empty()).then(|| dense.value_at_quantile(q)),
            Counts::Sparse(sparse) => buckets::quantile(sparse.iter(), sparse.count(), q),
            Counts::Encoded(encoded) => buckets::quantile(encoded.iter(), encoded.count(), q),
        }
    }

    /// The largest, in nanoseconds, to three digits. `None` when empty.
    pub fn max(&self) -> Option<u64> {
        match &self.0 {
            Counts::Dense(dense) => (!dense.is_empty()).then(|| dense.max()),
            Counts::Sparse(sparse) => sparse.iter().last().map(|(index, _)| buckets::highest_value(index)),
            Counts::Encoded(encoded) => encoded.iter().last().map(|(index, _)| buckets::highest_value(index)),
        }
    }

    /// Its buckets that have a count, from the smallest value to the largest.
    fn buckets(&self) -> Box<dyn Iterator<Item = (u32, u64)> + '_> {
        match &self.0 {
            Counts::Dense(dense) => Box::new(
                dense
                    .iter_recorded()
                    .map(|one| (buckets::index_of(one.value_iterated_to()), one.count_since_last_iteration())),
            ),
            Counts::Sparse(sparse) => Box::new(sparse.iter()),
            Counts::Encoded(encoded) => Box::new(encoded.iter()),
        }
    }

    fn to_dense(&self) -> hdrhistogram::Histogram<u64> {
        let mut dense = empty_dense();
        for (index, count) in self.buckets() {
            let value = buckets::lowest_value(index);
            if dense.record_n(value, count).is_err() {
                dense.saturating_record_n(value, count);
            }
        }
        dense
    }
}

fn empty_dense() -> hdrhistogram::Histogram<u64> {
    hdrhistogram::Histogram::new(3).expect("three digits are in the crate's range")
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.count() == other.count() && self.buckets().eq(other.buckets())
    }
}

impl serde::Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        let mut form = V2DeflateSerializer::new();
        match &self.0 {
            Counts::Dense(dense) => form.serialize(dense, &mut bytes),
            Counts::Sparse(_) | Counts::Encoded(_) => form.serialize(&self.to_dense(), &mut bytes),
        }
        .map_err(S::Error::custom)?;
        // It holds numbers: what looks like a secret in it is none.
        as_verbatim(&STANDARD_NO_PAD.encode(bytes), serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        EncodedBuckets::read(&bytes).map(|encoded| Self(Counts::Encoded(encoded))).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back(histogram: &Histogram) -> Histogram {
        serde_json::from_str(&serde_json::to_string(histogram).expect("it serialises")).expect("it is read back")
    }

    #[test]
    fn a_histogram_survives_the_journal() {
        let mut before = Histogram::new();
        for value in [1, 90, 5_000, 150_000_000, 61_000_000_000] {
            before.record(value);
        }
        let mut after = read_back(&before);
        assert_eq!(after.count(), 5);
        let near = |value: Option<u64>, wanted: u64| value.is_some_and(|value| value.abs_diff(wanted) <= wanted / 500);
        assert!(near(before.max(), 61_000_000_000), "it grew to the largest value: {:?}", before.max());
        assert!(near(before.quantile(0.5), 5_000), "to three digits: {:?}", before.quantile(0.5));
        assert_eq!(after.quantile(0.5), before.quantile(0.5));
        assert_eq!(after.max(), before.max());
        assert_eq!(after, before);
        after.record(300_000_000_000);
        assert_eq!(after.count(), 6, "a histogram that was read back still grows");
    }

    proptest! {
        // Each case records, writes and reads hundreds of values.
        #![proptest_config(ProptestConfig::with_cases(48))]

        // The dense one is HdrHistogram's own: a sum of what was read must not differ from it in any figure.
        #[test]
        fn read_and_added_histograms_have_the_figures_of_one_that_recorded_everything(
            parts in prop::collection::vec(prop::collection::vec(prop_oneof![0..5_000u64, 0..u64::MAX / 2, 100_000..90_000_000u64], 0..60), 1..6),
            q in prop_oneof![Just(0.0), Just(0.5), Just(0.95), Just(0.999), Just(1.0), 0.0..1.0f64],
        ) {
            let mut whole = Histogram::new();
            let mut sum = Histogram::default();
            for part in parts {
                let mut recorded = Histogram::new();
                part.iter().for_each(|value| recorded.record(*value));
                let read = read_back(&recorded);
                prop_assert_eq!(&read, &recorded);
                prop_assert_eq!(read.quantile(q), recorded.quantile(q));
                prop_assert_eq!(read.max(), recorded.max());
                sum.merge(&read);
                whole.merge(&recorded);
            }
            prop_assert_eq!(&sum, &whole);
            prop_assert_eq!(sum.count(), whole.count());
            prop_assert_eq!(sum.quantile(q), whole.quantile(q));
            prop_assert_eq!(sum.max(), whole.max());
            prop_assert_eq!(read_back(&sum), whole);
        }
    }
}
