//! The version of an item in a response: a whole number, or a time as APIs write it.

use jiff::{Timestamp, civil, fmt::rfc2822, tz::TimeZone};

/// What stands where the version is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VersionReading {
    /// Nothing, or null.
    #[default]
    Missing,
    /// A whole number.
    Number(u64),
    /// A time, in nanoseconds since 1970.
    Time(u64),
    /// Something that cannot be compared, shortened.
    Unreadable(String),
}

impl VersionReading {
    /// Reads the text of a field or header: a whole number, a time of RFC 3339 (without an offset: UTC), or the date of an
    /// HTTP header. An entity tag may hold them: `W/"17"`.
    pub fn of(text: &str) -> Self {
        let text = text.trim();
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let plain = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(text);
        if plain == "null" {
            return Self::Missing;
        }
        if let Ok(number) = plain.parse() {
            return epoch(number).map_or(Self::Number(number), Self::Time);
        }
        time(plain).map_or_else(|| Self::Unreadable(super::shorten(text.as_bytes())), Self::Time)
    }

    /// The version as a number: the higher, the newer.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) | Self::Time(number) => Some(*number),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }
}

/// Nearer to now than this, a number of seconds or milliseconds since 1970 is a time, in days.
const NEAR_NOW: u64 = 400;

/// A number that is a time since 1970, in seconds or milliseconds: two writes may have the same.
fn epoch(number: u64) -> Option<u64> {
    let now = u64::try_from(Timestamp::now().as_second()).ok()?;
    let is_near = |seconds: u64| now.abs_diff(seconds) <= NEAR_NOW * 86_400;
    if is_near(number) {
        return number.checked_mul(1_000_000_000);
    }
    is_near(number / 1_000).then(|| number.checked_mul(1_000_000)).flatten()
}

fn time(text: &str) -> Option<u64> {
    // A date alone is the same for all writes of a day.
    if !text.contains(':') {
        return None;
    }
    let without_offset =
        || text.parse::<civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp());
    let of_header = || rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let time = text.parse::<Timestamp>().ok().or_else(without_offset).or_else(of_header)?;
    u64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::VersionReading::{self, Missing, Number, Time, Unreadable};

    const SECOND: u64 = 1_000_000_000;
    /// 2026-01-02 03:04:05 UTC.
    const MOMENT: u64 = 1_767_323_045 * SECOND;

    #[test]
    fn whole_numbers_are_versions_however_they_are_quoted() {
        for text in ["17", " 17 ", "\"17\"", "W/\"17\""] {
            assert_eq!(VersionReading::of(text), Number(17), "{text}");
        }
        assert_eq!(VersionReading::of("18446744073709551615"), Number(u64::MAX));
        assert_eq!(VersionReading::of("null"), Missing);
    }

    #[test]
    fn times_are_versions_and_the_later_is_the_newer() {
        for (text, nanoseconds) in [
            ("2026-01-02T03:04:05Z", 0),
            ("2026-01-02T03:04:05.000000Z", 0),
            ("2026-01-02t03:04:05z", 0),
            ("2026-01-02T04:04:05+01:00", 0),
            ("2026-01-01T22:34:05.25-04:30", 250_000_000),
            ("2026-01-02 03:04:05.123456+00", 123_456_000),
            ("2026-01-02T03:04:05.123456789", 123_456_789),
            ("Fri, 02 Jan 2026 03:04:05 GMT", 0),
        ] {
            assert_eq!(VersionReading::of(text), Time(MOMENT + nanoseconds), "{text}");
        }
    }

    #[test]
    fn seconds_and_milliseconds_since_1970_are_times() {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        assert_eq!(VersionReading::of(&now.to_string()), Time(now * SECOND));
        assert_eq!(VersionReading::of(&format!("{}250", now - 86_400)), Time((now - 86_400) * SECOND + 250_000_000));
        for number in [1_700_000, 1_000_000_000, now * 1_000_000] {
            assert_eq!(VersionReading::of(&number.to_string()), Number(number), "{number}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_no_version() {
        for text in [
            "3.7",
            "-1",
            "v2",
            "",
            "d41d8cd98f00b204",
            "2026-01-02",
            "18446744073709551616",
            "1e9",
            "true",
            "1969-01-01T00:00:00Z",
        ] {
            assert_eq!(VersionReading::of(text), Unreadable(text.to_owned()), "{text}");
        }
    }
}
