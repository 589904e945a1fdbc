//! What HTML inside Markdown does to the text around it: it can strike it out, hide it and break its line.

/// What the HTML read so far leaves open.
#[derive(Debug, Default)]
pub(super) struct HtmlState {
    /// How many elements that strike out are open.
    struck: usize,
    /// Whether a comment is open. It ends at its `-->`, even where the Markdown around it ended before.
    comment: bool,
}

/// An effect of inline HTML on the text of its paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InlineHtml {
    /// From here on the text is struck out.
    Strikes,
    /// The text is no longer struck out.
    StrikesNoMore,
    /// A line ends.
    LineBreak,
    /// A form's checkbox, ticked or not.
    Input(bool),
    /// None.
    Nothing,
}

impl HtmlState {
    pub(super) fn is_struck(&self) -> bool {
        self.struck > 0
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.comment
    }

    /// Reads HTML, a whole block or inline.
    pub(super) fn read(&mut self, html: &str) {
        let mut rest = html;
        loop {
            if self.comment {
                let Some(end) = rest.find("-->") else { return };
                rest = &rest[end + 3..];
                self.comment = false;
            }
            let Some(open) = rest.find('<') else { return };
            rest = &rest[open..];
            if let Some(comment) = rest.strip_prefix("<!--") {
                // `<!-->` and `<!--->` are whole comments.
                let dashes = comment.strip_prefix("->").or_else(|| comment.strip_prefix('>'));
                self.comment = dashes.is_none();
                rest = dashes.unwrap_or(comment);
                continue;
            }
            match tag(rest) {
                InlineHtml::Strikes => self.struck += 1,
                InlineHtml::StrikesNoMore => self.struck = self.struck.saturating_sub(1),
                _ => {}
            }
            rest = &rest[1..];
        }
    }
}

/// What a tag does, from its `<` on.
pub(super) fn tag(html: &str) -> InlineHtml {
    let name = html.trim_start_matches(['<', '/']);
    let name_end = name.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(name.len());
    match (name[..name_end].to_ascii_lowercase().as_str(), html.starts_with("</")) {
        ("del" | "s" | "strike", false) => InlineHtml::Strikes,
        ("del" | "s" | "strike", true) => InlineHtml::StrikesNoMore,
        ("br", _) => InlineHtml::LineBreak,
        ("input", false) => {
            let attributes = html.to_ascii_lowercase().replace(['"', '\''], "");
            match attributes.contains("type=checkbox") {
                true => InlineHtml::Input(attributes.replace("type=checkbox", "").contains("checked")),
                false => InlineHtml::Nothing,
            }
        }
        _ => InlineHtml::Nothing,
    }
}

/// Whether a block of HTML that begins so ends at its end tag, not at a blank line: a comment, `<pre>` and others.
pub(super) fn is_raw(html: &str) -> bool {
    let html = html.trim_start();
    let is_named = |name: &&str| {
        html.get(1..=name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            && !html[1 + name.len()..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-')
    };
    html.starts_with("<!") || html.starts_with("<?") || ["pre", "script", "style", "textarea"].iter().any(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_strikes_out_and_hides_until_it_is_closed() {
        let after = |html: &str| {
            let mut state = HtmlState::default();
            state.read(html);
            (state.is_struck(), state.is_hidden())
        };
        assert_eq!(after("<div>\n<p class=\"s\">a < b</p>"), (false, false));
        assert_eq!(after("<DEL>"), (true, false));
        assert_eq!(after("<s><del></s>"), (true, false));
        assert_eq!(after("<del>a</del></del>"), (false, false));
        assert_eq!(after("<details> <!-- <del>"), (false, true));
        assert_eq!(after("<details> <!-- <del> --> <s>"), (true, false));
        assert_eq!(after("<!--> <!---> a"), (false, false));
        assert_eq!(after("<span> <svg> <delta>"), (false, false));
    }

    #[test]
    fn some_blocks_end_at_their_end_tag() {
        for html in ["<!-- a", "<?php", "<!DOCTYPE", "<pre>", "  <PRE class=\"a\">", "<style", "<script\n"] {
            assert!(is_raw(html), "{html:?}");
        }
        for html in ["<details>", "<prefix>", "<pre-view>", "</pre>", "<", "<é"] {
            assert!(!is_raw(html), "{html:?}");
        }
    }
}
