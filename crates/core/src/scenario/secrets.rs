//! The secrets that a scenario file writes out: where they stand, what they are, and the file without them.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Located, span_in_file};
use super::secret_comments::{assigned, comments, is_no_prose, named_values};
use super::{BypassSpec, Problem, Scenario, ScenarioErrors, parse};
use crate::secrets::{
    Mask, in_body, in_command, in_header, in_query, in_shell, in_slip, in_text, in_whole_url, is_secret_name,
    literal_parts, strike, strike_in_place,
};

/// The secrets of a file.
#[derive(Debug, Default)]
pub(super) struct FileSecrets {
    /// Where they stand.
    places: Vec<Range<usize>>,
    /// Numbers among them. In a JSON body a `0` takes their place.
    numbers: Vec<Range<usize>>,
    /// What they are.
    words: Vec<String>,
    /// Texts in which a secret may be repeated. Names and rules are none of them: they must fit together.
    texts: Vec<Range<usize>>,
}

impl FileSecrets {
    /// Reads a file, whether it is TOML or not.
    pub(super) fn of(text: &str) -> Self {
        let (tree, syntax) = DeTable::parse_recoverable(text);
        let mut reader = Reader { text, strings: Vec::new(), found: Self::default() };
        reader.table(tree.get_ref(), &[], None);
        let Reader { strings, mut found, .. } = reader;
        if !syntax.is_empty() {
            found.add_lines(text);
        }
        found.add_comments(text, &strings);
        found
    }

    /// What strikes them out of other texts.
    pub(super) fn mask(&self) -> Mask {
        Mask::of(&self.words)
    }

    /// The file with one `*` for each byte of a secret, for messages that point at its lines.
    pub(super) fn struck_out_in_place(&self, text: &str, mask: &Mask) -> String {
        let places = self.places.iter().chain(&self.numbers).cloned().collect();
        mask.in_place(&strike_in_place(text, places))
    }

    fn add(&mut self, text: &str, place: Range<usize>, word: &str) {
        if text.get(place.clone()).is_some() {
            self.places.push(place);
            self.words.push(word.to_owned());
        }
    }

    /// A file that is not TOML is read line by line: what follows the name of a secret, and what may be the password of a URL.
    fn add_lines(&mut self, text: &str) {
        for line in lines(text) {
            let mut parts = after_secret_names(&text[line.clone()]);
            parts.extend(in_whole_url(&text[line.clone()]));
            for part in parts {
                let place = line.start + part.start..line.start + part.end;
                self.add(text, place.clone(), text[place].trim_matches(['"', '\'', ',', ' ', '}', ']']));
            }
        }
    }

    /// Comments hold what was tried before.
    fn add_comments(&mut self, text: &str, strings: &[Range<usize>]) {
        for comment in comments(text, strings) {
            let content = &text[comment.clone()];
            let in_urls = in_text(content);
            let mut parts = in_shell(content);
            parts.extend(assigned(content));
            for part in parts {
                let is_value = in_urls.contains(&part)
                    || content[..part.start].ends_with(['"', '\''])
                    || is_no_prose(content[part.clone()].trim());
                for part in literal_parts(content, part, true) {
                    let place = comment.start + part.start..comment.start + part.end;
                    if is_value {
                        self.words.push(text[place.clone()].trim().to_owned());
                    }
                    self.places.push(place);
                }
            }
            self.texts.push(comment);
        }
    }
}

/// The file without its secrets, and without those that the mask knows, for the journal. Parsed again it is the same scenario
/// but for them. What came from `${NAME}` still says so.
///
/// # Errors
/// A file that would not be a scenario any more.
pub fn strike_out_of_file(name: &str, text: &str, mask: &Mask) -> Result<String, ScenarioErrors> {
    let secrets = FileSecrets::of(text);
    let mut struck = text.to_owned();
    // With spaces before it the other places stay where they are.
    for place in secrets.numbers {
        let zero = format!("{}0", " ".repeat(place.len().saturating_sub(1)));
        struck.replace_range(place, &zero);
    }
    let mut places = secrets.places;
    for part in secrets.texts {
        let content = &struck[part.clone()];
        let placeholders = super::placeholders(content);
        let words = mask.find_words(content).into_iter();
        // A placeholder says nothing, even if its name is a secret.
        let words = words.filter(|word| !placeholders.iter().any(|one| one.start < word.end && word.start < one.end));
        let words = words.flat_map(|word| literal_parts(content, word, true));
        places.extend(words.map(|word| part.start + word.start..part.start + word.end));
    }
    let struck = strike(&struck, places);
    if struck != text
        && let Err(errors) = parse(name, &struck)
    {
        let why = errors.problems().first().map(ToString::to_string).unwrap_or_default();
        let message =
            format!("{name} can't be kept with the run: without its secrets it is no scenario any more: {why}");
        let help =
            "write the secret as ${NAME} and set the environment variable, or change the name that is the same word";
        return Err(ScenarioErrors::new(name, text, vec![Problem::new(message).help(help)]));
    }
    Ok(struck)
}

/// Adds the secrets of a scenario whose variables were filled in: what they became part of is a secret as well.
pub(super) fn add_filled_in(scenario: &Scenario, mask: &Mask) {
    let add = |text: &str, parts: Vec<Range<usize>>| parts.into_iter().for_each(|part| mask.add(&text[part]));
    let redis = scenario.stack.redis.as_ref().and_then(|redis| redis.url.as_deref());
    let postgres = scenario.stack.postgres.as_ref().and_then(|postgres| postgres.url.as_deref());
    for url in [redis, postgres, scenario.target.url.as_deref()].into_iter().flatten() {
        add(url, in_whole_url(url));
    }
    match &scenario.target.bypass {
        Some(BypassSpec::Header(name, value)) => add(value, in_header(name, value)),
        Some(BypassSpec::Query(query)) => add(query, in_query(query, 0)),
        None => {}
    }
    for words in [&scenario.target.start, &scenario.target.args] {
        in_command(words).into_iter().for_each(|(index, part)| mask.add(&words[index][part]));
    }
    for request in &scenario.traffic.requests {
        add(&request.path, in_query(&request.path, 0));
        request.headers.iter().for_each(|(name, value)| add(value, in_header(name, value)));
        if let Some(body) = &request.body {
            add(body, in_body(body).into_iter().filter(|(_, is_string)| *is_string).map(|(part, _)| part).collect());
        }
    }
}

/// Walks through the values of a file.
struct Reader<'a> {
    text: &'a str,
    /// Every string, to tell comments from them.
    strings: Vec<Range<usize>>,
    found: FileSecrets,
}

impl Reader<'_> {
    /// `secret`: the name of the table, where it is that of a secret.
    fn table(&mut self, table: &DeTable<'_>, path: &[&str], secret: Option<&str>) {
        for (key, value) in table {
            let key: &str = key.get_ref();
            // The names of key spaces, and of the fields that hold `{token}`.
            let harmless = matches!(path, ["data"]) || (path == ["target"] && key == "tokens");
            let secret = if is_secret_name(key) && !harmless { Some(key) } else { secret };
            let path: Vec<&str> = path.iter().copied().chain([key]).collect();
            self.value(value, &path, secret);
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &[&str], secret: Option<&str>) {
        match value.get_ref() {
            DeValue::String(string) => self.string(value.span(), string, path, secret),
            DeValue::Table(table) => self.table(table, path, secret),
            DeValue::Array(items)
                if matches!(path.last(), Some(&("start" | "args" | "run" | "undo" | "check" | "env"))) =>
            {
                self.command(items.iter(), path, secret);
            }
            DeValue::Array(items) => items.iter().for_each(|item| self.value(item, path, secret)),
            _ if secret.is_some() => {
                let written = self.text.get(value.span()).unwrap_or_default().to_owned();
                self.found.add(self.text, value.span(), &written);
            }
            _ => {}
        }
    }

    fn string(&mut self, span: Range<usize>, value: &str, path: &[&str], secret: Option<&str>) {
        let (key, parent) = (path.last().copied().unwrap_or_default(), path.iter().rev().nth(1).copied());
        let parts = match (parent, key) {
            (Some("headers"), name) => in_header(name, value),
            (Some("bypass"), "header") => match value.split_once(':') {
                Some((name, rest)) => {
                    let offset = name.len() + 1;
                    in_header(name, rest).into_iter().map(|part| offset + part.start..offset + part.end).collect()
                }
                None => in_slip(value),
            },
            // Not what these keys take: a command in one string, headers that are no table, variables.
            (_, "start" | "args" | "headers" | "env") => in_slip(value),
            (_, "query") => in_query(value, 0),
            _ if secret.is_some() => literal_parts(value, 0..value.len(), true),
            (_, "url") => in_whole_url(value),
            (_, "get" | "post" | "put" | "patch" | "delete" | "of" | "item" | "ready") => in_query(value, 0),
            (_, "run" | "undo" | "check") => in_shell(value),
            (_, "body") => {
                let (strings, numbers): (Vec<_>, Vec<_>) = in_body(value).into_iter().partition(|(_, string)| *string);
                for (part, _) in numbers {
                    self.found.words.push(value[part.clone()].to_owned());
                    let place = self.place(&span, value, part);
                    self.found.numbers.push(place);
                }
                strings.into_iter().map(|(part, _)| part).collect()
            }
            _ => Vec::new(),
        };
        if !matches!(key, "name" | "rules" | "steady" | "abort" | "proved_by" | "proofs" | "kind" | "provider" | "path")
        {
            self.found.texts.push(span.clone());
        }
        self.add(span, value, parts.into_iter().chain(in_text(value)).collect());
    }

    fn command<'v>(
        &mut self,
        items: impl Iterator<Item = &'v Spanned<DeValue<'v>>>,
        path: &[&str],
        secret: Option<&str>,
    ) {
        let items: Vec<_> = items.collect();
        let words: Vec<&str> = items.iter().map(|item| item.get_ref().as_str().unwrap_or_default()).collect();
        let mut parts = vec![Vec::new(); words.len()];
        in_command(&words).into_iter().for_each(|(index, part)| parts[index].push(part));
        for ((item, word), parts) in items.iter().zip(&words).zip(parts) {
            if item.get_ref().is_str() {
                self.found.texts.push(item.span());
                self.add(item.span(), word, parts);
            } else {
                self.value(item, path, secret);
            }
        }
    }

    fn add(&mut self, span: Range<usize>, value: &str, parts: Vec<Range<usize>>) {
        for part in parts {
            let word = value[part.clone()].to_owned();
            let place = self.place(&span, value, part);
            self.found.add(self.text, place, &word);
        }
        self.strings.push(span);
    }

    /// Where a part of a string stands in the file.
    fn place(&self, span: &Range<usize>, value: &str, part: Range<usize>) -> Range<usize> {
        span_in_file(self.text, &Located { value, span: span.clone() }, part)
    }
}

fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    text.split('\n').map(move |line| {
        let begin = at;
        at += line.len() + 1;
        begin..begin + line.len()
    })
}

/// In a line of any kind, everything that follows the name of a secret with `=` or `:`.
fn after_secret_names(line: &str) -> Vec<Range<usize>> {
    named_values(line, true).into_iter().next().map(|value| value.start..line.trim_end().len()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file with its secrets replaced, without asking whether it is a scenario.
    fn in_place(text: &str) -> String {
        let secrets = FileSecrets::of(text);
        secrets.struck_out_in_place(text, &secrets.mask())
    }

    #[test]
    fn every_place_for_a_secret_is_struck_out_and_columns_stay() {
        let text = r#"
title = "HUSH-9 is named here too" # and here: HUSH-9
password = "HUSH-1"
[stack.redis]
url = "redis://:42/HUSH-2@h:1"
"api-key" = 12345
[target]
start = ["app", "--token", "HUSH-3", "--port", "{port}", "X_KEY=HUSH-4"]
ready = "/health?sig=HUSH-5"
tokens = ["kept"]
bypass = { header = "Cookie: a=HUSH-6; b" }
[[traffic.request]]
headers = { "Authorization" = "Bearer HUSH-7${KEPT}", 'X-Api-Key' = """
HUSH-8""", "X-User" = "{kept}" }
get = "/a?api_key=HUSH-9&x=kept" # headers = { "X-Auth-Token" = "HUSH-10" } # token=HUSH-11
body = "{\"password\": \"HUSH\u002d12\", \"pin_token\": 4711, \"x\": \"kept\"}"
[auth]
user = "HUSH-13"
"#;
        let struck = in_place(text);
        assert_eq!(struck.len(), text.len());
        assert!(!struck.contains("HUSH") && !struck.contains("12345") && !struck.contains("4711"), "{struck}");
        assert_eq!(struck.matches("kept").count() + struck.matches("KEPT").count(), 5, "{struck}");
        for stays in ["redis://:*********@h:1", "\"{port}\"", "Bearer ******${KEPT}", "&x=kept", "is named here too"] {
            assert!(struck.contains(stays), "{stays}: {struck}");
        }
    }

    #[test]
    fn values_of_the_wrong_kind_show_no_secret() {
        for text in [
            "[target]\nstart = \"./my-app --token HUSH --port 1\"",
            "[target]\nargs = \"--token HUSH\"",
            "[target]\nstart = \"API_KEY=HUSH ./app\"",
            "[target]\nstart = '[\"x\", \"--token\", \"HUSH\"'",
            "[[traffic.request]]\nheaders = \"Authorization: Bearer HUSH\"",
            "[[traffic.request]]\nheaders = [\"Authorization: Bearer HUSH\", \"Cookie: a=HUSH\"]",
            "[target.bypass]\nheaders = \"X-Api-Key: HUSH\"",
            "[target.bypass]\nheader = \"X-Api-Key=HUSH\"",
            "[target.bypass]\nheader = \"Authorization Bearer HUSH\"",
            "[[phase]]\nfault = { run = [\"curl\", \"-H\", \"Authorization: Bearer HUSH\"] }",
            "[target]\nenv = [\"API_KEY=HUSH\"]",
            "[[traffic.request]]\nquery = \"api_key=HUSH\"",
        ] {
            assert!(!in_place(text).contains("HUSH"), "{}", in_place(text));
        }
    }

    #[test]
    fn a_comment_is_struck_out_and_its_prose_is_no_secret_elsewhere() {
        let text = "# --password from the vault\n# key = item\n# docker exec -u 1000:1000 app redis-cli DEL session:1234\n\
            # token = \"hush one\" or --token 'hush two' or token=hush-0003\n# redis://:hushfour@h/ and api_key=hushfive\n";
        let secrets = FileSecrets::of(text);
        let mask = secrets.mask();
        let struck = secrets.struck_out_in_place(text, &mask);
        for gone in ["from", "item", "hush"] {
            assert!(!struck.contains(gone), "{gone}: {struck}");
        }
        assert!(struck.contains("-u 1000:1000 app redis-cli DEL session:1234"), "{struck}");
        assert_eq!(mask.text("item from 1000 and 1234 in the vault"), "item from 1000 and 1234 in the vault");
        assert_eq!(mask.text("hush one, hush two, hush-0003, hushfour, hushfive"), "***, ***, ***, ***, hushfive");
    }

    #[test]
    fn a_file_that_is_not_toml_shows_no_secret() {
        for text in [
            "url = \"redis://:a\"HUSH@h\"",
            "url = \"redis://me:a b\"HU@SH@h\"\nkept = 1",
            "headers = { \"Authorization\" = \"Bearer HU\"SH\" }",
            "Authorization = Bearer HUSH",
            "api_key = \"HUSH",
            "x = [1\nX-Api-Key: HUSH",
            "api_key: HUSH",
            "x = [1\n- password: HUSH",
            "get = \"/a?token=HUSH",
        ] {
            let struck = in_place(text);
            assert!(!struck.contains("HU") && !struck.contains("SH"), "{struck}");
            assert_eq!(struck.len(), text.len());
            assert_eq!(struck.contains("kept"), text.contains("kept"));
        }
    }
}
