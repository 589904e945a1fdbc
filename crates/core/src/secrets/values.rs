//! The secret parts of the values that a scenario holds: headers, JSON bodies, commands.

use std::ops::Range;

use super::expansion::Expansion;
use super::names::is_secret_name;
use super::url::in_text;

/// What of a part of a text was written out: without `${NAME}`, with `placeholders` also without `{name}`, and without what
/// is struck out already.
pub(crate) fn literal_parts(text: &str, part: Range<usize>, placeholders: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut begin = part.start;
    let mut at = part.start;
    while at < part.end {
        let rest = &text[at..part.end];
        if let Some(expansion) = Expansion::at(rest) {
            found.push(begin..at);
            found.extend(literal_parts(text, at + expansion.word.start..at + expansion.word.end, placeholders));
            at += expansion.length;
            begin = at;
            continue;
        }
        let skipped = if rest.starts_with("${") {
            named(&rest[1..]).map(|length| length + 1)
        } else if placeholders && rest.starts_with('{') {
            named(rest)
        } else {
            None
        };
        match skipped {
            Some(length) => {
                found.push(begin..at);
                at += length;
                begin = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    found.push(begin..part.end);
    found.retain(|part| text[part.clone()].chars().any(|c| c != '*'));
    found
}

/// The length of `{name}`, where a text begins with it.
fn named(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let name = text.get(1..end)?;
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(end + 1)
}

/// The secret parts of a header's value.
pub(crate) fn in_header(name: &str, value: &str) -> Vec<Range<usize>> {
    let name = name.trim();
    let parts: Vec<Range<usize>> = if is_cookie(name) {
        pieces(value, ';').into_iter().map(|piece| after_equals(value, piece)).collect()
    } else if is_secret_name(name) {
        vec![after_scheme(name, value)]
    } else {
        return in_text(value);
    };
    parts.into_iter().flat_map(|part| literal_parts(value, part, true)).chain(in_text(value)).collect()
}

fn is_cookie(name: &str) -> bool {
    ["cookie", "set-cookie"].iter().any(|cookie| name.eq_ignore_ascii_case(cookie))
}

/// The pieces between separators, without spaces around them.
fn pieces(text: &str, separator: char) -> Vec<Range<usize>> {
    let mut at = 0;
    text.split(separator)
        .map(|piece| {
            let begin = at + (piece.len() - piece.trim_start().len());
            at += piece.len() + separator.len_utf8();
            begin..begin + piece.trim().len()
        })
        .collect()
}

/// The words of a text, by spaces.
fn pieces_of_words(text: &str) -> Vec<Range<usize>> {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| start(word)..start(word) + word.len()).collect()
}

/// The secret parts of a value of the wrong kind: a command or headers in one string, in a list, or with the wrong separator.
pub(crate) fn in_slip(text: &str) -> Vec<Range<usize>> {
    let mut found = in_shell(text);
    for separator in [":", "=", " "] {
        if let Some(at) = text.find(separator)
            && text[..at].chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            && (is_secret_name(&text[..at]) || is_cookie(&text[..at]))
        {
            let value = at + 1 + (text[at + 1..].len() - text[at + 1..].trim_start().len());
            let parts = in_header(&text[..at], &text[value..]);
            found.extend(parts.into_iter().map(|part| value + part.start..value + part.end));
        }
    }
    // A list that was never closed is a string for the parser.
    let quoted: Vec<Range<usize>> = quoted_parts(text);
    let words: Vec<&str> = quoted.iter().map(|part| &text[part.clone()]).collect();
    let parts = in_command(&words).into_iter();
    found.extend(parts.map(|(index, part)| quoted[index].start + part.start..quoted[index].start + part.end));
    found
}

/// What stands in double quotes.
fn quoted_parts(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('"').map(|length| at + length) {
        let end = end_of_string(bytes, open);
        found.push(open + 1..end);
        at = (end + 1).min(bytes.len());
    }
    found
}

fn after_equals(text: &str, piece: Range<usize>) -> Range<usize> {
    let begin = text[piece.clone()].find('=').map_or(piece.start, |at| piece.start + at + 1);
    begin..piece.end
}

/// The names of schemes that `Authorization` begins with. They are no secrets; any other word may be one.
const SCHEMES: [&str; 16] = [
    "apikey",
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "digest",
    "dpop",
    "hawk",
    "jwt",
    "key",
    "negotiate",
    "ntlm",
    "oauth",
    "sharedkey",
    "splunk",
    "token",
    "vapid",
];

/// What follows the scheme of `Authorization`: the value without `Bearer`.
fn after_scheme(name: &str, value: &str) -> Range<usize> {
    let has_scheme = name.to_ascii_lowercase().ends_with("authorization");
    match value.split_once(' ').filter(|_| has_scheme) {
        Some((scheme, _)) if SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) => {
            scheme.len() + 1..value.len()
        }
        _ => 0..value.len(),
    }
}

/// The values of a JSON text whose fields have the names of secrets, with placeholders; whether each is a string.
pub(crate) fn in_json(text: &str) -> Vec<(Range<usize>, bool)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('"').map(|length| at + length) {
        let end = end_of_string(bytes, open);
        let colon = skip_spaces(bytes, (end + 1).min(bytes.len()));
        at = (end + 1).min(bytes.len());
        if bytes.get(colon) != Some(&b':') || !is_secret_name(&text[open + 1..end]) {
            continue;
        }
        let value = skip_spaces(bytes, colon + 1);
        match bytes.get(value) {
            Some(b'"') => {
                let end = end_of_string(bytes, value);
                found.extend(literal_parts(text, value + 1..end, true).into_iter().map(|part| (part, true)));
                at = (end + 1).min(bytes.len());
            }
            // All that is in it.
            Some(b'{' | b'[') if named(&text[value..]).is_none() => at = add_all_values(text, value, &mut found),
            None => {}
            Some(_) => {
                let ends = |c: char| matches!(c, ',' | ']' | '}') || c.is_whitespace();
                let placeholder = text[value..].starts_with(['{', '$']);
                let end = text[value..].find(ends).map_or(text.len(), |length| value + length);
                let word = &text[value..end];
                if !placeholder && !matches!(word, "true" | "false" | "null") {
                    found.push((value..end, false));
                }
            }
        }
    }
    found.extend(in_text(text).into_iter().map(|part| (part, true)));
    found
}

/// Adds every string and number of the object or list that begins here, but no names. Returns where it ends.
fn add_all_values(text: &str, from: usize, found: &mut Vec<(Range<usize>, bool)>) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (from, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = end_of_string(bytes, at);
                let next = skip_spaces(bytes, (end + 1).min(bytes.len()));
                if bytes.get(next) != Some(&b':') {
                    found.extend(literal_parts(text, at + 1..end, true).into_iter().map(|part| (part, true)));
                }
                at = end;
            }
            b'{' if named(&text[at..]).is_some() => at += named(&text[at..]).unwrap_or(1) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                let length = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                found.push((at..at + length, false));
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The closing quote of the string that begins here, or the end of the text.
fn end_of_string(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn skip_spaces(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|byte| !byte.is_ascii_whitespace()).map_or(bytes.len(), |length| from + length)
}

/// Programs whose argument behind `-c` is a script.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"];

/// Whether a word of a command is a script for a shell, which fills in variables itself.
pub(crate) fn is_shell_script<T: AsRef<str>>(words: &[T], index: usize) -> bool {
    let Some(option) = index.checked_sub(1).map(|before| words[before].as_ref()) else { return false };
    let is_option = option.starts_with('-') && !option.starts_with("--") && option.contains('c');
    let shell = words[..index].iter().rev().skip(1).find(|word| !word.as_ref().starts_with('-'));
    is_option && shell.is_some_and(|shell| SHELLS.contains(&program(shell.as_ref())))
}

fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The secret parts of each word of a command.
pub(crate) fn in_command<T: AsRef<str>>(words: &[T]) -> Vec<(usize, Range<usize>)> {
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let word = word.as_ref();
        let parts = if is_shell_script(words, index) {
            in_shell(word)
        } else {
            let before: Vec<&str> = words[..index].iter().map(AsRef::as_ref).collect();
            in_word(&before, word)
        };
        found.extend(parts.into_iter().map(|part| (index, part)));
    }
    found
}

/// The secret parts of a command line for a shell.
pub(crate) fn in_shell(text: &str) -> Vec<Range<usize>> {
    let tokens = tokens(text);
    let words: Vec<&str> = tokens.iter().map(|token| &text[token.clone()]).collect();
    let mut found = in_text(text);
    for (at, _) in text.match_indices("${") {
        // The shell's working directory has the name of a password.
        let expansion = Expansion::at(&text[at..]).filter(|one| one.name != "PWD" && is_secret_name(one.name));
        let word = expansion.map(|one| literal_parts(text, at + one.word.start..at + one.word.end, false));
        found.extend(word.into_iter().flatten().filter(|part| !text[part.clone()].starts_with('$')));
    }
    for (index, token) in tokens.iter().enumerate() {
        let parts = in_word(&words[..index], words[index]);
        // What the shell fills in is no secret by itself.
        let written = parts.into_iter().filter(|part| !words[index][part.clone()].starts_with('$'));
        found.extend(written.map(|part| token.start + part.start..token.start + part.end));
    }
    found
}

/// The secret parts of a word behind other words of a command.
fn in_word(before: &[&str], word: &str) -> Vec<Range<usize>> {
    let mut found = in_text(word);
    let mut add = |part: Range<usize>| found.extend(literal_parts(word, without_quotes(word, part), false));
    let last = before.last().copied().unwrap_or_default();
    let is_behind = |programs: &[&str]| before.iter().any(|word| programs.contains(&program(word)));
    let to_redis = || before.iter().any(|word| matches!(program(word), "redis-cli" | "valkey-cli"));
    let is_option = |word: &str| word.starts_with('-') && !word.contains(['=', ' ', ':']);
    let is_word = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
    // An option of one letter with its value in the same word: `-pSECRET`, `-uME:SECRET`.
    let is_glued = |letter: &str| word.starts_with(letter) && !word.starts_with("--") && word.len() > letter.len();
    if is_option(last) && is_secret_name(last) && !word.starts_with("--") {
        add(0..word.len());
    } else if matches!(last, "-u" | "--user" | "--proxy-user") && !word.contains("://") {
        // `docker exec -u 1000:1000` names a user and a group.
        let is_id = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let logs_in = before.iter().any(|word| matches!(program(word), "curl" | "wget"));
        let at = word.find(':').filter(|at| logs_in || !is_id(&word[at + 1..]));
        at.into_iter().for_each(|at| add(at + 1..word.len()));
    } else if is_behind(&["curl", "wget"]) && is_glued("-u") && word.contains(':') {
        add(word.find(':').map_or(0, |at| at + 1)..word.len());
    } else if (is_behind(&["mysql", "mysqldump", "mysqladmin", "mariadb", "sshpass"])) && is_glued("-p") {
        add(2..word.len());
    } else if is_behind(&["sshpass"]) && last == "-p" {
        add(0..word.len());
    } else if to_redis() && before.len() > 1 && is_word(before[before.len() - 2], "auth") && !word.starts_with('-') {
        // AUTH user password.
        add(0..word.len());
    } else if word.trim_start().starts_with(['{', '[']) && word.contains('"') {
        found.extend(in_json(word).into_iter().map(|(part, _)| part));
    } else if word.contains(char::is_whitespace)
        && word.split_once('=').is_some_and(|(name, _)| !name.contains(char::is_whitespace) && !is_secret_name(name))
    {
        // The connection string of a database: `host=h password=SECRET`.
        for piece in pieces_of_words(word) {
            if let Some(at) = word[piece.clone()].find('=')
                && is_secret_name(&word[piece.start..piece.start + at])
            {
                add(piece.start + at + 1..piece.end);
            }
        }
    } else if to_redis()
        && (last == "-a" || ["auth", "requirepass", "masterauth"].iter().any(|key| last.eq_ignore_ascii_case(key)))
    {
        add(0..word.len());
    } else if let Some(at) = word.find(['=', ':'])
        && word[..at].chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        let (name, value) = (&word[..at], at + 1);
        if word[at..].starts_with(':') {
            // `DEL session:1234` names a key of Redis.
            let is_header = word[value..].starts_with(char::is_whitespace)
                || matches!(last, "-H" | "--header" | "--proxy-header")
                || is_header_name(name);
            if !is_header {
                return found;
            }
            let parts = in_header(name, word[value..].trim_start());
            let offset = word.len() - word[value..].trim_start().len();
            found.extend(parts.into_iter().map(|part| offset + part.start..offset + part.end));
        } else if is_secret_name(name) {
            add(value..word.len());
        }
    }
    found
}

/// Whether a name is known as that of a header with a secret.
fn is_header_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let known = ["api-key", "apikey", "authorization", "cookie", "proxy-authorization", "set-cookie"];
    name.starts_with("x-") || known.contains(&name.as_str())
}

/// Without the quotes around it.
pub(super) fn without_quotes(text: &str, part: Range<usize>) -> Range<usize> {
    let inner = &text[part.clone()];
    match inner.chars().next() {
        Some(quote @ ('"' | '\'')) if inner.len() > 1 && inner.ends_with(quote) => part.start + 1..part.end - 1,
        _ => part,
    }
}

/// The words of a command line, without the quotes around them.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut begin = None;
    let mut quote = None;
    let mut escaped = false;
    // Where the `${NAME:-two words}` ends that is open.
    let mut expanded = 0;
    for (at, c) in text.char_indices() {
        if quote != Some('\'') && !escaped && at >= expanded {
            expanded = Expansion::at(&text[at..]).map_or(0, |one| at + one.length);
        }
        let ends = quote.is_none()
            && !escaped
            && at >= expanded
            && (c.is_whitespace() || matches!(c, ';' | '|' | '&' | '(' | ')'));
        if ends {
            found.extend(begin.take().map(|begin| begin..at));
            continue;
        }
        begin.get_or_insert(at);
        match quote {
            _ if escaped => escaped = false,
            Some('\'') if c != '\'' => {}
            _ if c == '\\' => escaped = true,
            Some(open) if open == c => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ => {}
        }
    }
    found.extend(begin.map(|begin| begin..text.len()));
    found.into_iter().map(|token| without_quotes(text, token)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::strike;
    use super::*;

    #[test]
    fn the_secret_part_of_a_header_is_found() {
        for (name, value, struck) in [
            ("Authorization", "Bearer abc.def", "Bearer ***"),
            ("authorization", "Basic YTpi", "Basic ***"),
            ("Authorization", "abc", "***"),
            ("Authorization", "abc def", "***"),
            ("Authorization", "Bearer ${TOKEN}", "Bearer ${TOKEN}"),
            ("Authorization", "Bearer a-${TOKEN}-{user}-b", "Bearer ***${TOKEN}***{user}***"),
            ("Proxy-Authorization", "Digest username=\"a\", response=\"b\"", "Digest ***"),
            ("Cookie", "a=1; session=x=y;flag", "a=***; session=***;***"),
            ("Cookie", "session={user}", "session={user}"),
            ("X-Api-Key", "two words", "***"),
            ("X-User", "me", "me"),
            ("Referer", "http://u:p@h/?token=t", "http://u:***@h/?token=***"),
            ("X-Monkey", "banana", "banana"),
        ] {
            assert_eq!(strike(value, in_header(name, value)), struck, "{name}");
        }
    }

    #[test]
    fn the_secret_fields_of_a_body_are_found() {
        let struck = |text: &str| strike(text, in_json(text).into_iter().map(|(part, _)| part).collect());
        let body = r#"{"user": "me", "password" : "a\"b", "token": "{token}", "apiKey":"k{item}", "pin":1, "secret":[1, {"a": "b"}], "x": "y"}"#;
        let expected = r#"{"user": "me", "password" : "***", "token": "{token}", "apiKey":"***{item}", "pin":1, "secret":[***, {"a": "***"}], "x": "y"}"#;
        assert_eq!(struck(body), expected);
        assert_eq!(
            struck(r#"{"token": 12, "key": ${N}, "auth": {user}, "secret": true}"#),
            r#"{"token": ***, "key": ${N}, "auth": {user}, "secret": true}"#
        );
        assert_eq!(struck(r#"{"url": "redis://:p@h"}"#), r#"{"url": "redis://:***@h"}"#);
        assert_eq!(struck(r#"{"token": "never closed"#), r#"{"token": "***"#);
    }

    #[test]
    fn the_secret_words_of_a_command_are_found() {
        for (command, struck) in [
            ("app --api-key abc --port 1", "app --api-key *** --port 1"),
            ("app --api-key=abc", "app --api-key=***"),
            ("env API_KEY=abc MONKEY=x app", "env API_KEY=*** MONKEY=x app"),
            ("app --token --verbose", "app --token --verbose"),
            ("app redis://:p/w@h", "app redis://:***@h"),
            ("redis-cli -a abc PING; echo -a b", "redis-cli -a *** PING; echo -a ***"),
            ("redis-cli CONFIG SET requirepass abc", "redis-cli CONFIG SET requirepass ***"),
            (
                "curl -u me:abc -H 'Authorization: Bearer abc' http://h/?token=abc",
                "curl -u me:*** -H 'Authorization: Bearer ***' http://h/?token=***",
            ),
            ("PGPASSWORD=\"a b\" psql", "PGPASSWORD=\"***\" psql"),
            ("PGPASSWORD=$PW psql --password $PW", "PGPASSWORD=$PW psql --password $PW"),
            ("app --token ${TOKEN}", "app --token ${TOKEN}"),
            // Defaults.
            ("redis-cli -a \"${REDIS_PASSWORD:-hush}\" PING", "redis-cli -a \"${REDIS_PASSWORD:-***}\" PING"),
            ("redis-cli -a ${ANY-hush} PING", "redis-cli -a ${ANY-***} PING"),
            ("app --token=${ANY:=two words} --port ${PORT:-80}", "app --token=${ANY:=***} --port ${PORT:-80}"),
            ("app --token ${ANY:+'hush'}", "app --token ${ANY:+'***'}"),
            ("app --token ${ANY:?set it first}", "app --token ${ANY:?set it first}"),
            ("app --token ${ONE:-${TWO:-hush}}x", "app --token ${ONE:-${TWO:-***}}***"),
            ("app --token ${ONE:-$TWO}", "app --token ${ONE:-$TWO}"),
            ("echo \"${APP_TOKEN:-hush}\"; cd ${PWD:-/home}", "echo \"${APP_TOKEN:-***}\"; cd ${PWD:-/home}"),
            ("app redis://:${PW:-hush}@h/", "app redis://:${PW:-***}@h/"),
            // Users and groups, and keys of Redis.
            ("docker exec -u 1000:1000 app ls", "docker exec -u 1000:1000 app ls"),
            ("http -u me:hush url; /usr/bin/curl --user me:1000", "http -u me:*** url; /usr/bin/curl --user me:***"),
            ("redis-cli DEL session:1234 'token:5678'", "redis-cli DEL session:1234 'token:5678'"),
            (
                "http url 'Session: abcd' X-Api-Key:abcd cookie:a=b",
                "http url 'Session: ***' X-Api-Key:*** cookie:a=***",
            ),
            ("curl -H session:abcd h", "curl -H session:*** h"),
            ("redis-cli AUTH default hush", "redis-cli AUTH *** ***"),
            ("curl -d '{\"password\":\"hush\", \"a\":\"b\"}' h", "curl -d '{\"password\":\"***\", \"a\":\"b\"}' h"),
            ("psql \"host=h password=hush dbname=d\"", "psql \"host=h password=*** dbname=d\""),
            (
                "curl -ume:hush x; mysql -phush d; sshpass -p hush ssh h",
                "curl -ume:*** x; mysql -p*** d; sshpass -p *** ssh h",
            ),
        ] {
            assert_eq!(strike(command, in_shell(command)), struck);
        }
        let words = ["timeout", "5", "/bin/sh", "-ec", "API_KEY='a b' app", "-c", "x"];
        assert_eq!(in_command(&words), [(4, 9..12)]);
        assert!(is_shell_script(&words, 4) && !is_shell_script(&words, 6) && !is_shell_script(&["app", "-c", "x"], 2));
    }
}
