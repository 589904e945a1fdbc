//! Percent-encoded text (RFC 3986, 2.1).

/// Every `%XX` as its byte; what is no UTF-8 then is replaced.
pub fn decode(text: &str) -> String {
    String::from_utf8_lossy(&decode_where(text, |_| true)).into_owned()
}

/// Those `%XX` as their byte that are wanted.
pub fn decode_where(text: &str, wanted: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, behind @ ..]) => match byte(*high, *low).filter(|byte| wanted(*byte)) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = behind;
                    continue;
                }
                None => bytes.push(*first),
            },
            _ => bytes.push(*first),
        }
        rest = after;
    }
    bytes
}

fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hexadecimal_digits_are_a_byte_and_nothing_else_is() {
        for (text, plain) in [
            ("caf%C3%A9", "café"),
            ("%2f%2F", "//"),
            ("%", "%"),
            ("%4", "%4"),
            ("%%41", "%A"),
            ("%+1%-1% 1%g0", "%+1%-1% 1%g0"),
            ("%ff", "\u{fffd}"),
            ("é%20é", "é é"),
        ] {
            assert_eq!(decode(text), plain, "{text}");
        }
        assert_eq!(decode_where("%2F%41", |byte| byte != b'/'), b"%2FA");
    }
}
