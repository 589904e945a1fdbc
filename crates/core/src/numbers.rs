//! Numbers for people: `4.2 ms`, `152 µs`, `1.53 s`, `12 400`, `61.3 %`. Three significant digits, trailing
//! zeros left out, no dependence on locale. Everything that shows a number to a person goes through here.

use jiff::Timestamp;
use serde::Serialize;

/// Units of a rule's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A share of 1.
    Share,
    /// A plain number.
    Count,
    /// Bytes.
    Bytes,
    /// Events a second.
    PerSecond,
}

/// `value` to three significant digits without trailing zeros: `4.2`, `0.0153`, `152`, `12 400`.
pub fn plain(value: f64) -> String {
    significant(value, 3)
}

fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = usize::try_from(digits - 1 - magnitude).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("−", whole));
    format!("{sign}{}{rest}", grouped(whole))
}

/// A whole number in groups of three: `12 400`. Four digits stay together only below 1 000.
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The version of an item: `17`; where versions are times, in nanoseconds since 1970: `2026-01-02T03:04:05.25Z`.
pub fn version(version: u64, is_time: bool) -> String {
    let time = Timestamp::from_nanosecond(i128::from(version)).ok().filter(|_| is_time);
    time.map_or_else(|| version.to_string(), |time| time.to_string())
}

/// A time in seconds: `850 ns`, `152 µs`, `4.2 ms`, `1.53 s`.
pub fn time(seconds: f64) -> String {
    // Rounded before the unit is chosen, so that 999.7 µs is `1 ms` and not `1 000 µs`.
    let rounded = round_significant(seconds);
    let (factor, unit) = match rounded.abs() {
        0.0 => (1.0, "s"),
        x if x < 0.999_999e-6 => (1e9, "ns"),
        x if x < 0.999_999e-3 => (1e6, "µs"),
        x if x < 0.999_999 => (1e3, "ms"),
        _ => (1.0, "s"),
    };
    format!("{} {unit}", plain(rounded * factor))
}

fn round_significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(2 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// A share of 1 as `61.3 %`. Never rounds to 0 % or 100 % what is not: `99.98 %`, `0.02 %`.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    let text = if (99.0..100.0).contains(&percent) {
        let missing = 100.0 - percent;
        let decimals = usize::try_from(1 - missing.log10().floor() as i32).unwrap_or(1).clamp(1, 9);
        let text = format!("{percent:.decimals$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        // A third digit of a small share is noise.
        significant(percent, if percent < 1.0 { 2 } else { 3 })
    };
    format!("{text} %")
}

/// Bytes as `64 MiB`.
pub fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value.abs() < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", plain(value))
}

/// Events a second: `400/s`.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", plain(per_second))
}

/// A moment or a length in a run, in seconds: `33.2 s`.
pub fn moment(seconds: f64) -> String {
    let text = format!("{seconds:.1}");
    format!("{} s", text.strip_suffix(".0").unwrap_or(&text))
}

/// A value in its unit.
pub fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => time(value),
        Unit::Share => share(value),
        Unit::Count if value.fract() == 0.0 && (0.0..1e15).contains(&value) => count(value as u64),
        Unit::Count => plain(value),
        Unit::Bytes => bytes(value),
        Unit::PerSecond => rate(value),
    }
}

/// The percentile's name without its letter: 95 for 0.95, 99.9 for 0.999.
pub fn plain_percentile(q: f64) -> String {
    let text = format!("{:.3}", q * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How many times `after` is `before`: `8.5 %` below 1, `2.4 times` from 1 on.
pub fn ratio(ratio: f64) -> String {
    if ratio < 1.0 { share(ratio) } else { format!("{} times", plain(ratio)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [
                time(0.0042),
                time(0.000_152),
                time(1.5349),
                time(0.15),
                time(0.000_999_7),
                time(0.999_9),
                time(0.0),
                time(85e-8)
            ],
            ["4.2 ms", "152 µs", "1.53 s", "150 ms", "1 ms", "1 s", "0 s", "850 ns"]
        );
        assert_eq!([count(0), count(999), count(12_400), count(1_234_567)], ["0", "999", "12 400", "1 234 567"]);
        assert_eq!([plain(0.35), plain(12_400.0), plain(2.0), plain(-3.25)], ["0.35", "12 400", "2", "−3.25"]);
        assert_eq!([bytes(67_108_864.0), bytes(900.0), bytes(1_572_864.0)], ["64 MiB", "900 B", "1.5 MiB"]);
        assert_eq!([ratio(0.085), ratio(2.4)], ["8.5 %", "2.4 times"]);
    }

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        assert_eq!(
            [share(0.613), share(1.0), share(0.0), share(0.999_8), share(0.999_999), share(0.000_17), share(0.99)],
            ["61.3 %", "100 %", "0 %", "99.98 %", "99.9999 %", "0.017 %", "99 %"]
        );
    }
}
