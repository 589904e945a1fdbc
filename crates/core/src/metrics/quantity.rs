//! Values with units, as scenario files and rules write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A value with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// A time: `150ms`, `1.5s`, `20us`.
    Time(Duration),
    /// A share of 1: `60%` is 0.6.
    Share(f64),
    /// A plain number: `0`, `10_000`.
    Count(f64),
    /// Bytes: `64mb` (1 kb = 1024 bytes, as Redis has it).
    Bytes(u64),
    /// Events a second: `400/s`.
    Rate(f64),
}

/// Why a text is not a value. Its message says what is wrong, its help what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QuantityError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

const TIMES: [(&str, u128); 8] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    // The Greek letter, which looks the same.
    ("μs", 1_000),
    ("ns", 1),
];
const SIZES: [(&str, u128); 4] = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10), ("b", 1)];

/// Longer numbers say more than any measurement can.
const MAX_DIGITS: usize = 18;

impl Quantity {
    /// What kind of value it is, in words with an example.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Time(_) => "a time",
            Self::Share(_) => "a percentage",
            Self::Count(_) => "a plain number",
            Self::Bytes(_) => "a size in bytes",
            Self::Rate(_) => "a rate",
        }
    }
}

impl Quantity {
    /// Its number in seconds, as a share of 1, a count, bytes or events a second.
    pub fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.as_nanos() as f64 / 1e9,
            Self::Bytes(bytes) => bytes as f64,
            Self::Share(number) | Self::Count(number) | Self::Rate(number) => number,
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, unit) = Number::split(text)?;
        let compact = format!("{}{}", number.text, unit.trim());
        match unit {
            "" => Ok(Self::Count(number.float(0))),
            "%" => Ok(Self::Share(number.float(-2))),
            "/s" => Ok(Self::Rate(number.float(0))),
            // Never advise to write what would be refused next.
            _ if unit.starts_with(char::is_whitespace) => compact.parse().and_then(|_: Self| {
                Err(QuantityError {
                    message: format!("\"{text}\" has a space before its unit"),
                    help: format!("write {compact}"),
                })
            }),
            _ => number.times_or_bytes(text, unit),
        }
    }
}

/// The digits of a number, checked.
struct Number {
    text: String,
    whole: String,
    fraction: String,
}

impl Number {
    /// Splits `1_000.5ms` into its number and its unit.
    fn split(text: &str) -> Result<(Self, &str), QuantityError> {
        let error = |message: String, help: &str| Err(QuantityError { message, help: help.to_owned() });
        if text.starts_with(['-', '+']) {
            return error(format!("\"{text}\" has a sign"), "values are never negative: leave the sign out");
        }
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '_' || c == '.')).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let whole_is_right = !whole.is_empty()
            && whole.split('_').all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
        let fraction_is_right = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
        if !whole_is_right || !fraction_is_right {
            return error(
                format!("\"{text}\" is not a value"),
                "write a number and its unit: 150ms, 1.5s, 60%, 64mb, 400/s, 10_000",
            );
        }
        let whole = whole.replace('_', "");
        if whole.len() > MAX_DIGITS || fraction.len() > MAX_DIGITS {
            return error(format!("\"{text}\" has too many digits"), "write at most 18 digits");
        }
        Ok((Self { text: digits.to_owned(), whole, fraction: fraction.to_owned() }, unit))
    }

    /// The number times ten to `power`, correctly rounded.
    fn float(&self, power: i32) -> f64 {
        format!("{}.{}e{power}", self.whole, self.fraction).parse().expect("digits, a point and digits are a number")
    }

    /// The number times `unit`, in whole parts.
    fn scaled(&self, unit: u128) -> u128 {
        let digits: u128 = format!("{}{}", self.whole, self.fraction).parse().expect("at most 36 digits");
        // 36 digits times an hour in nanoseconds may be more than 128 bits; the largest then stands for "too much".
        digits.checked_mul(unit).map_or(u128::MAX, |product| product / 10_u128.pow(self.fraction.len() as u32))
    }

    fn times_or_bytes(&self, text: &str, unit: &str) -> Result<Quantity, QuantityError> {
        let too_much = || QuantityError {
            message: format!("\"{text}\" is more than cacheproof can count"),
            help: "write a smaller value".to_owned(),
        };
        if let Some((_, nanoseconds)) = TIMES.iter().find(|(name, _)| *name == unit) {
            let nanoseconds = u64::try_from(self.scaled(*nanoseconds)).map_err(|_| too_much())?;
            return Ok(Quantity::Time(Duration::from_nanos(nanoseconds)));
        }
        let lower = unit.to_ascii_lowercase();
        if let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == lower) {
            return u64::try_from(self.scaled(*bytes)).map(Quantity::Bytes).map_err(|_| too_much());
        }
        let number = &self.text;
        Err(QuantityError {
            message: format!("\"{text}\" has a unit that is not known: \"{unit}\""),
            help: match lower.as_str() {
                "sec" | "secs" | "second" | "seconds" => format!("write {number}s"),
                "msec" | "millis" | "milliseconds" => format!("write {number}ms"),
                "m" | "mins" | "minute" | "minutes" => format!("write {number}min for minutes"),
                "mib" | "m_b" => format!("write {number}mb (1 mb is 1024 kb)"),
                "gib" => format!("write {number}gb (1 gb is 1024 mb)"),
                "kib" | "k" => format!("write {number}kb (1 kb is 1024 bytes)"),
                "rps" | "req/s" | "hz" | "/sec" | "/second" => format!("write {number}/s"),
                "/min" | "/m" | "/h" | "/ms" => "rates are for each second: 400/s".to_owned(),
                other if other.starts_with(',') => "decimals follow a point: 60.5%".to_owned(),
                _ => {
                    "units are ns us ms s min h for times, % for shares, b kb mb gb for sizes, /s for rates".to_owned()
                }
            },
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => {
                let nanoseconds = time.as_nanos();
                if nanoseconds == 0 {
                    return f.write_str("0s");
                }
                // Seconds are the largest unit shown: "90s" reads as well as "1.5min" and needs no fraction.
                units(f, nanoseconds, &TIMES[2..])
            }
            Self::Share(share) => write!(f, "{}%", as_percent(*share)),
            Self::Count(count) => write!(f, "{count}"),
            Self::Bytes(0) => f.write_str("0b"),
            Self::Bytes(bytes) => units(f, u128::from(*bytes), &SIZES),
            Self::Rate(rate) => write!(f, "{rate}/s"),
        }
    }
}

/// Writes a whole number in the largest unit that leaves no fraction.
fn units(f: &mut fmt::Formatter<'_>, value: u128, units: &[(&str, u128)]) -> fmt::Result {
    let fits = units.iter().find(|(_, unit)| value.is_multiple_of(*unit));
    let (name, unit) = fits.expect("the smallest unit divides every value");
    write!(f, "{}{name}", value / unit)
}

/// A number times 100, exactly: the point is moved in its shortest decimal form.
pub(crate) fn as_percent(share: f64) -> String {
    let text = format!("{share}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let padded = format!("{fraction:0<2}");
    let (up, rest) = padded.split_at(2);
    let digits = format!("{whole}{up}");
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    if rest.is_empty() { digits.to_owned() } else { format!("{digits}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error: QuantityError| panic!("{text}: {error}"))
    }

    #[test]
    fn help_never_advises_what_would_be_refused_next() {
        let help = |text: &str| text.parse::<Quantity>().unwrap_err().help;
        assert_eq!(help("15 s"), "write 15s");
        assert_eq!(help("15 seconds"), "write 15s");
        assert!(help("3 parsecs").starts_with("units are "), "{}", help("3 parsecs"));
    }

    #[test]
    fn values_are_read_exactly() {
        assert_eq!(parsed("150ms"), Quantity::Time(Duration::from_millis(150)));
        assert_eq!(parsed("1.5s"), Quantity::Time(Duration::from_millis(1_500)));
        assert_eq!(parsed("0.1s"), Quantity::Time(Duration::from_millis(100)));
        assert_eq!(parsed("20us"), Quantity::Time(Duration::from_micros(20)));
        assert_eq!(parsed("2min"), Quantity::Time(Duration::from_secs(120)));
        assert_eq!(parsed("60%"), Quantity::Share(0.6));
        assert_eq!(parsed("99.9%"), Quantity::Share(0.999));
        assert_eq!(parsed("10_000"), Quantity::Count(10_000.0));
        assert_eq!(parsed("64mb"), Quantity::Bytes(64 << 20));
        assert_eq!(parsed("64MB"), Quantity::Bytes(64 << 20));
        assert_eq!(parsed("1.5kb"), Quantity::Bytes(1536));
        assert_eq!(parsed("400/s"), Quantity::Rate(400.0));
    }

    #[test]
    fn what_is_not_a_value_is_refused_with_the_value_that_was_meant() {
        for (wrong, help) in [
            ("15sec", "write 15s"),
            ("15 ms", "write 15ms"),
            ("2m", "write 2min for minutes"),
            ("64MiB", "write 64mb (1 mb is 1024 kb)"),
            ("400rps", "write 400/s"),
            ("-1", "values are never negative: leave the sign out"),
            ("999999999999999999h", "write a smaller value"),
            ("1_", "write a number and its unit: 150ms, 1.5s, 60%, 64mb, 400/s, 10_000"),
            ("", "write a number and its unit: 150ms, 1.5s, 60%, 64mb, 400/s, 10_000"),
        ] {
            assert_eq!(wrong.parse::<Quantity>().expect_err(wrong).help, help, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_value_survives_being_written_and_read(
            nanoseconds: u64,
            bytes: u64,
            share in 0.0..10.0_f64,
            count in 0_u32..,
        ) {
            let time = Quantity::Time(Duration::from_nanos(nanoseconds % 1_000_000_000_000_000_000));
            let bytes = Quantity::Bytes(bytes % 1_000_000_000_000_000_000);
            // Shares as people write them, to a millionth.
            let share = Quantity::Share((share * 1e6).round() / 1e6);
            let count = f64::from(count) / 8.0;
            for value in [time, bytes, share, Quantity::Count(count), Quantity::Rate(count)] {
                proptest::prop_assert_eq!(value.to_string().parse::<Quantity>(), Ok(value));
            }
        }

        #[test]
        fn no_text_makes_the_reading_of_values_panic(text in ".{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
