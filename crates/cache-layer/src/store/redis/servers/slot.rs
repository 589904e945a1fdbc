//! Which of a cluster's 16,384 slots a key belongs to: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16,384
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>, "Key distribution model" and "Hash tags").

pub(super) const SLOTS: usize = 16_384;

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// What of a key is hashed: what stands between its first `{` and the next `}`, if anything does.
fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let behind = &key[open + 1..];
    match behind.iter().position(|byte| *byte == b'}') {
        Some(length) if length > 0 => &behind[..length],
        _ => key,
    }
}

pub(super) fn of(key: &str) -> u16 {
    crc16(hashed(key.as_bytes())) % SLOTS as u16
}

/// A name that begins with `prefix`, or with a hash tag before it when the prefix has one of its own, and belongs to a slot of
/// these ranges; the same one as long as they stay, another one for other ranges. `None` when there are none.
pub(in crate::store::redis) fn name_in(ranges: &[(u16, u16)], prefix: &str) -> Option<String> {
    if ranges.is_empty() {
        return None;
    }
    let lands = |name: &String| {
        let slot = of(name);
        ranges.iter().any(|(from, to)| (*from..=*to).contains(&slot))
    };
    let said = ranges.iter().flat_map(|(from, to)| [from.to_be_bytes(), to.to_be_bytes()]).flatten();
    // FNV-1a: the same in every process and release.
    let digest =
        said.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let front = prefix.contains('{');
    let name =
        |n: u32| if front { format!("{{{digest:x}.{n:x}}}{prefix}") } else { format!("{prefix}{{{digest:x}.{n:x}}}") };
    // Each try lands anywhere: of one slot alone, this many miss with a chance below 10⁻²⁵.
    (0..1_000_000).map(name).find(lands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of the specification");
        // As `CLUSTER KEYSLOT` says.
        for (key, slot) in [("foo", 12182), ("bar", 5061), ("hello", 866), ("", 0)] {
            assert_eq!(of(key), slot, "{key}");
        }
    }

    #[test]
    fn a_hash_tag_stands_for_the_key() {
        assert_eq!(of("{user1000}.following"), of("user1000"));
        assert_eq!(of("a{b}c{d}"), of("b"), "the first counts");
        assert_eq!(of("foo{{bar}}zap"), of("{bar"));
        for whole in ["foo{}{bar}", "foo{bar", "foo}bar{"] {
            assert_eq!(of(whole), crc16(whole.as_bytes()) % 16_384, "{whole} has none");
        }
    }

    #[test]
    fn a_name_lands_where_it_should() {
        for ranges in [vec![(0, 5460)], vec![(12182, 12182)], vec![(5, 6), (16383, 16383)]] {
            for prefix in ["prod:!wm", "odd{x}:!wm"] {
                let name = name_in(&ranges, prefix).expect("a name");
                assert!(name.contains(prefix));
                assert!(ranges.iter().any(|(from, to)| (*from..=*to).contains(&of(&name))), "{name}");
                assert_eq!(Some(name), name_in(&ranges, prefix), "the same again");
            }
        }
        assert_ne!(name_in(&[(0, 100), (200, 300)], "x"), name_in(&[(0, 100)], "x"), "other slots, another name");
        assert_eq!(name_in(&[], "x"), None);
    }
}
