//! The buckets of an HdrHistogram with three significant digits from 1 on, without an array of all of them.
//!
//! Bucket 0 to 2,047 are the values 0 to 2,047; each further 1,024 buckets are as wide together as all before.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

/// Digits of the number of buckets of one width.
const HALF_DIGITS: u32 = 10;
const HALF: u64 = 1 << HALF_DIGITS;
/// How many buckets there are for all of u64.
const BUCKETS: u32 = (65 - HALF_DIGITS) << HALF_DIGITS;

/// More values in one histogram of one second are not from a run.
pub(super) const MAX_VALUES: u64 = 1_000_000_000;

/// `HISTFAAAA` in base64: V2, deflated.
const DEFLATED_COOKIE: u32 = 0x1c84_9314;
const COOKIE: u32 = 0x1c84_9313;
const HEADER_BYTES: usize = 40;
/// A count takes at most nine bytes.
const MAX_BYTES: usize = HEADER_BYTES + BUCKETS as usize * 9;

/// The bucket of a value.
pub(super) fn index_of(value: u64) -> u32 {
    let shift = 63 - HALF_DIGITS - (value | (2 * HALF - 1)).leading_zeros();
    (shift << HALF_DIGITS) + (value >> shift) as u32
}

/// The lowest value of a bucket.
pub(super) fn lowest_value(index: u32) -> u64 {
    let shift = shift_of(index);
    u64::from(index - (shift << HALF_DIGITS)) << shift
}

/// The highest value of a bucket.
pub(super) fn highest_value(index: u32) -> u64 {
    lowest_value(index) + ((1 << shift_of(index)) - 1)
}

/// How many low bits of a value its bucket does not tell.
fn shift_of(index: u32) -> u32 {
    (index >> HALF_DIGITS).saturating_sub(1)
}

/// The value that the share `q` of all values does not exceed, as HdrHistogram finds it.
pub(super) fn quantile(buckets: impl Iterator<Item = (u32, u64)>, count: u64, q: f64) -> Option<u64> {
    let rank = ((q.min(1.0) * count as f64).ceil() as u64).max(1);
    let mut passed = 0;
    for (index, count) in buckets {
        passed += count;
        if passed >= rank {
            return Some(if q == 0.0 { lowest_value(index) } else { highest_value(index) });
        }
    }
    None
}

/// Buckets that have a count, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SparseBuckets {
    buckets: Vec<(u32, u64)>,
    count: u64,
}

impl SparseBuckets {
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.buckets.iter().copied()
    }

    /// Adds counts, which come in the order of their buckets.
    pub fn add(&mut self, more: impl IntoIterator<Item = (u32, u64)>) {
        let mut new: Vec<(u32, u64)> = Vec::new();
        let mut from = 0;
        for (index, count) in more {
            self.count += count;
            from += self.buckets[from..].partition_point(|(mine, _)| *mine < index);
            match self.buckets.get_mut(from) {
                Some((mine, sum)) if *mine == index => *sum += count,
                _ => new.push((index, count)),
            }
        }
        // From the end, so that each bucket is moved once.
        let (mut old, mut free) = (self.buckets.len(), self.buckets.len() + new.len());
        self.buckets.resize(free, (0, 0));
        while let Some(last) = new.last() {
            free -= 1;
            self.buckets[free] = if old > 0 && self.buckets[old - 1].0 > last.0 {
                old -= 1;
                self.buckets[old]
            } else {
                let last = *last;
                new.pop();
                last
            };
        }
    }
}

/// Buckets as HdrHistogram writes them: for each a count, or the number of empty ones that follow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EncodedBuckets {
    bytes: Box<[u8]>,
    count: u64,
}

impl EncodedBuckets {
    /// Reads HdrHistogram's V2 deflate format. What a run can't have written is refused before it takes any memory.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let (cookie, rest) = number::<4>(bytes).ok_or("a histogram is too short")?;
        if u32::from_be_bytes(cookie) != DEFLATED_COOKIE {
            return Err("a histogram is not in HdrHistogram's V2 deflate format".to_owned());
        }
        let (length, rest) = number::<4>(rest).ok_or("a histogram is too short")?;
        if u32::from_be_bytes(length) as usize != rest.len() {
            return Err("a histogram is not as long as it says".to_owned());
        }
        let mut form = Vec::new();
        let read = ZlibDecoder::new(rest).take(MAX_BYTES as u64 + 1).read_to_end(&mut form);
        read.map_err(|error| format!("a histogram can't be inflated: {error}"))?;
        if form.len() > MAX_BYTES {
            return Err("a histogram has more buckets than there are".to_owned());
        }
        let header = form.get(..HEADER_BYTES).ok_or("a histogram is too short")?;
        let word = |at: usize| number::<4>(&header[at..]).map_or(0, |(word, _)| u32::from_be_bytes(word));
        let long = |at: usize| number::<8>(&header[at..]).map_or(0, |(long, _)| u64::from_be_bytes(long));
        let [cookie, length, offset, digits] = [0, 4, 8, 12].map(word);
        let (low, ratio) = (long(16), f64::from_bits(long(32)));
        if (cookie, offset, digits, low, ratio) != (COOKIE, 0, 3, 1, 1.0) {
            return Err("a histogram is not of nanoseconds with three digits".to_owned());
        }
        form.drain(..HEADER_BYTES);
        if length as usize != form.len() {
            return Err("a histogram is not as long as it says".to_owned());
        }
        let count = check(&form)?;
        Ok(Self { bytes: form.into(), count })
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let (mut rest, mut index) = (&*self.bytes, 0);
        std::iter::from_fn(move || {
            while let Some(step) = step(&mut rest) {
                match step {
                    Step::Count(count) => {
                        index += 1;
                        return Some((index - 1, count));
                    }
                    Step::Empty(buckets) => index += buckets,
                }
            }
            None
        })
    }
}

/// The number of values in buckets that no run contradicts.
fn check(bytes: &[u8]) -> Result<u64, String> {
    let (mut rest, mut index, mut sum) = (bytes, 0u32, 0u64);
    while !rest.is_empty() {
        let (buckets, count) = match step(&mut rest) {
            Some(Step::Count(count)) => (1, count),
            Some(Step::Empty(buckets)) => (buckets, 0),
            None => return Err("a histogram has a count that can't be read".to_owned()),
        };
        index = index.saturating_add(buckets);
        sum = sum.saturating_add(count);
        if index > BUCKETS {
            return Err("a histogram has more buckets than there are".to_owned());
        }
    }
    if sum > MAX_VALUES {
        return Err(format!("a histogram has {sum} values, more than {MAX_VALUES}"));
    }
    Ok(sum)
}

enum Step {
    Count(u64),
    Empty(u32),
}

/// The next number: LEB128 in at most nine bytes, zigzag. Below 0 it is a number of empty buckets.
fn step(bytes: &mut &[u8]) -> Option<Step> {
    let mut value = 0u64;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if place == 8 {
            value |= u64::from(*byte) << 56;
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let half = value >> 1;
    Some(match (value & 1, half) {
        (0, 0) => Step::Empty(1),
        (0, count) => Step::Count(count),
        // −n is 2 n − 1.
        (_, half) => Step::Empty(u32::try_from(half.saturating_add(1)).unwrap_or(u32::MAX)),
    })
}

fn number<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk::<N>().map(|(number, rest)| (*number, rest))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn deflated(counts: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut form = Vec::new();
        form.extend(COOKIE.to_be_bytes());
        form.extend((counts.len() as u32).to_be_bytes());
        form.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        form.extend(1u64.to_be_bytes());
        form.extend(u64::MAX.to_be_bytes());
        form.extend(1f64.to_be_bytes());
        form.extend(counts);
        change(&mut form);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&form).expect("a vector takes it");
        let body = encoder.finish().expect("a vector takes it");
        let mut bytes = DEFLATED_COOKIE.to_be_bytes().to_vec();
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_buckets_hold_every_value_once() {
        for value in [0, 1, 2_047, 2_048, 2_049, 4_095, 4_096, 1 << 40, (1 << 40) + 1, u64::MAX - 1, u64::MAX] {
            let index = index_of(value);
            assert!(index < BUCKETS && lowest_value(index) <= value && value <= highest_value(index), "{value}");
            assert_eq!([index_of(lowest_value(index)), index_of(highest_value(index))], [index; 2], "{value}");
        }
    }

    #[test]
    fn a_histogram_that_no_run_writes_is_refused_and_takes_no_memory() {
        let refusal = |bytes: &[u8]| EncodedBuckets::read(bytes).expect_err("no run writes it");
        assert_eq!(EncodedBuckets::read(&deflated(&[2, 3, 4], |_| {})).map(|read| read.count()), Ok(3));
        for (what, counts) in [
            ("2^62 values", vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            ("as many empty buckets", vec![0xff; 9]),
            ("more buckets than there are", vec![2; BUCKETS as usize + 1]),
            ("a count that is cut", vec![0x80]),
            ("four million zeros", vec![0; 4_000_000]),
        ] {
            assert!(refusal(&deflated(&counts, |_| {})).starts_with("a histogram "), "{what}");
        }
        for at in [0, 4, 8, 12, 16, 32] {
            assert!(refusal(&deflated(&[2], |form| form[at] ^= 0x40)).starts_with("a histogram "), "header at {at}");
        }
        let right = deflated(&[2, 3, 4], |_| {});
        for length in 0..right.len() {
            refusal(&right[..length]);
        }
        refusal(&[]);
        refusal(b"not a histogram at all");
    }
}
