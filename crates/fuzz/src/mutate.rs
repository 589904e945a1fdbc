//! Changes of an input: bytes, numbers, lines, words, and parts of other inputs.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

/// Longer inputs are cut: they only make each try slower.
const MAX_BYTES: usize = 1 << 20;

/// Numbers at which something overflows, and others that no reader expects.
const NUMBERS: [&str; 22] = [
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e308",
    "-1e308",
    "1e999",
    "1e-320",
    "0.1",
    "NaN",
    "inf",
    "00",
];

/// Characters with a meaning in one of the formats, or of more than one byte.
const CHARACTERS: [&str; 32] = [
    "\"", "'", "\\", "`", "```", "[", "]", "[ ]", "{", "}", "(", ")", "<", ">", "<!--", "-->", "=", ",", ";", ":", "#",
    "|", "*", "_", "\n", "\r\n", "\t", "\0", "\u{feff}", "\u{202e}", "é", "😀",
];

/// One of the seeds, changed in one place or in several.
pub fn mutated(seeds: &[Vec<u8>], words: &[&str], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut input = seeds.choose(random).cloned().unwrap_or_default();
    let changes = 1 << random.random_range(0..5);
    for _ in 0..changes {
        change(&mut input, seeds, words, random);
    }
    input.truncate(MAX_BYTES);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str], random: &mut ChaCha8Rng) {
    let at = random.random_range(0..=input.len());
    let end = (at + (1 << random.random_range(0..10))).min(input.len());
    match random.random_range(0..12) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random(),
        2 => drop(input.drain(at..end)),
        3 => {
            let part = input[at..end].to_vec();
            insert(input, at, &part);
        }
        4 => {
            let part = input[at..end].repeat(1 << random.random_range(0..6));
            insert(input, at, &part);
        }
        5 => insert(input, at, CHARACTERS.choose(random).unwrap_or(&"").as_bytes()),
        6 => insert(input, at, words.choose(random).unwrap_or(&"").as_bytes()),
        7 | 8 => replace_number(input, at, NUMBERS.choose(random).unwrap_or(&"0")),
        9 => move_line(input, at, random),
        10 => {
            let other = seeds.choose(random).map_or(&[][..], Vec::as_slice);
            let from = random.random_range(0..=other.len());
            let to = (from + (1 << random.random_range(0..12))).min(other.len());
            insert(input, at, &other[from..to]);
        }
        _ if random.random_ratio(1, 8) => input.truncate(at),
        _ => replace_word(input, at, words.choose(random).unwrap_or(&"")),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    if input.len() + part.len() <= MAX_BYTES {
        drop(input.splice(at..at, part.iter().copied()));
    }
}

/// Puts a number in the place of the next one.
fn replace_number(input: &mut Vec<u8>, from: usize, number: &str) {
    replace_run(input, from, u8::is_ascii_digit, number);
}

/// Puts a word in the place of the next one.
fn replace_word(input: &mut Vec<u8>, from: usize, word: &str) {
    replace_run(input, from, |byte| byte.is_ascii_alphabetic() || *byte == b'_', word);
}

fn replace_run(input: &mut Vec<u8>, from: usize, belongs: impl Fn(&u8) -> bool, new: &str) {
    let Some(start) = input[from..].iter().position(&belongs).map(|start| from + start) else { return };
    let length = input[start..].iter().take_while(|byte| belongs(byte)).count();
    drop(input.splice(start..start + length, new.bytes()));
}

/// Copies or moves the line at a place to another.
fn move_line(input: &mut Vec<u8>, at: usize, random: &mut ChaCha8Rng) {
    let begin = input[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let end = input[at..].iter().position(|byte| *byte == b'\n').map_or(input.len(), |end| at + end + 1);
    let line = input[begin..end].to_vec();
    if random.random() {
        drop(input.drain(begin..end));
    }
    let ends: Vec<usize> = input.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    insert(input, ends.choose(random).copied().unwrap_or(0), &line);
}
