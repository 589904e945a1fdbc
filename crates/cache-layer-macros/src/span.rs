//! Lengths of time as people write them.

/// Milliseconds of `5m`, `30s`, `500ms`, `1h`, `7d`; or what is wrong with it.
pub(crate) fn milliseconds(text: &str) -> Result<u64, String> {
    let advice = || format!("`{text}` is no length of time: write a whole number and ms, s, m, h or d, such as \"5m\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| advice())?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(advice()),
    };
    match number.checked_mul(factor) {
        None => Err(format!("`{text}` is too long")),
        Some(0) => Err(format!("`{text}` is no time at all: nothing would be kept")),
        Some(length) => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn lengths_of_time() {
        let read = |text| milliseconds(text).ok();
        assert_eq!(
            ["500ms", "30s", "5m", "1h", "7d"].map(read),
            [500, 30_000, 300_000, 3_600_000, 604_800_000].map(Some)
        );
        for wrong in
            ["", "5", "m", "5 m", "-5m", "5min", "1.5h", "0s", "99999999999999999999d", "18446744073709551615d"]
        {
            let error = milliseconds(wrong).expect_err(wrong);
            assert!(error.contains(wrong), "{error}");
        }
    }
}
