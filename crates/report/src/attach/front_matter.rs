//! The data before the Markdown of a file: front matter, as site generators and GitHub read it. Markdown's own grammar does not know
//! it. The parser's extension is not used: it also takes the text between any two rules (`---`) of a page for data.

/// How many bytes of a text are not Markdown: a byte order mark and front matter.
pub(super) fn markdown_start(text: &str) -> usize {
    let mark = text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len();
    mark + front_matter(&text[mark..])
}

/// The length of the front matter at the start of a text: between two lines `---` (YAML, may also end in `...`) or `+++` (TOML).
fn front_matter(text: &str) -> usize {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let fence = first.trim_end();
    if !matches!(fence, "---" | "+++") {
        return 0;
    }
    let mut at = first.len();
    for line in lines {
        let ends = line.trim_end() == fence || (fence == "---" && line.trim_end() == "...");
        if ends {
            let is_data = fence == "+++" || looks_like_yaml(&text[first.len()..at]);
            return if is_data { at + line.len() } else { 0 };
        }
        at += line.len();
    }
    0
}

/// Whether a text can be the fields of a YAML document. A page may also begin with a rule (`---`) and have a second one further down.
fn looks_like_yaml(text: &str) -> bool {
    let mut fields = false;
    // Whether the last field has its value in the lines below it.
    let mut open = false;
    for line in text.lines().map(str::trim_end) {
        let line = if fields { line } else { line.trim_start() };
        if line.is_empty() || line.starts_with(['#', ' ', '\t', ']', '}']) {
            continue;
        }
        if line == "-" || line.starts_with("- ") {
            if !open {
                return false;
            }
            continue;
        }
        match value_of_field(line) {
            Some(value) => (fields, open) = (true, value.is_empty() || value.starts_with(['#', '&', '!'])),
            // The second line of a value, if at all.
            None if fields => open = false,
            None => return false,
        }
    }
    true
}

/// The value behind `key:`, where a line is a field.
fn value_of_field(line: &str) -> Option<&str> {
    let (key, value) = match line.strip_prefix(['"', '\'']) {
        Some(rest) => rest.split_once(&line[..1])?,
        None => line.split_at(line.find(':')?),
    };
    let value = value.trim_start().strip_prefix(':')?;
    let is_key = !key.is_empty() && !key.starts_with(['*', '>', '|', '[', '!', '<', '`']);
    (is_key && (value.is_empty() || value.starts_with([' ', '\t']))).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::markdown_start;

    #[test]
    fn front_matter_stands_at_the_start_and_is_closed() {
        for data in [
            "---\ntitle: s\n---\n",
            "\u{feff}---\ntitle: s\n---\n",
            "---  \r\ntitle: s\r\n---\t\r\n",
            "---\ntitle: s\n...\n",
            "---\n\n# a comment\ntitle: s\nlist:\n- [ ] a\n- b: c\n\nnext: # below\n- [ ] d\n---\n",
            "---\n\"a key\": [\n  - [ ] x\n]\n'b': |\n  - [ ] x\n\n  <!--\n---\n",
            "---\n  title: s\n  list:\n    - [ ] x\n---\n",
            "---\nlong: one\ntwo\n---\n",
            "---\n---\n",
            "+++\ntitle = \"s\"\n- [ ] x\n+++\n",
            "\u{feff}",
        ] {
            assert_eq!(markdown_start(&format!("{data}- [ ] box\n")), data.len(), "{data:?}");
        }
        assert_eq!(markdown_start("---\na: b\n---"), 12, "at the end of the file");
    }

    #[test]
    fn a_rule_at_the_start_of_a_page_is_no_front_matter() {
        for page in [
            "",
            "- [ ] box\n",
            "\n---\ntitle: s\n---\n",
            " ---\ntitle: s\n---\n",
            "----\ntitle: s\n----\n",
            "---\ntitle: s\n",
            "---\ntitle: s\n ---\n",
            "---\n- [ ] box\n---\n",
            "---\n\n  - [ ] box\n\n---\n",
            "---\n\n- [ ] box: one\n\n---\n",
            "---\n# Title\n- [ ] box\n---\n",
            "---\nNote: read this.\n\n- [ ] box\n\n---\n",
            "---\nWhat was asked for\n\n- [ ] box\n---\n",
            "---\n**Asked for**: this\n---\n",
            "+++\nno end\n",
        ] {
            assert_eq!(markdown_start(page), 0, "{page:?}");
        }
    }
}
