//! What a reader sees of a story: its boxes with their text, and where a block of results begins. Markdown is read as GitHub reads
//! it: CommonMark with task lists, footnotes, tables and struck-out text.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::BEGIN;
use super::footnotes::Footnotes;
use super::front_matter::markdown_start;
use super::html::{HtmlState, InlineHtml, is_raw, tag};
use super::leaf::Leaf;

/// The outline of a story. Offsets are bytes of the whole text.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// Its boxes and what looks like one, in their order.
    pub boxes: Vec<TaskBox>,
    /// Where blocks of results begin.
    pub blocks: Vec<usize>,
    /// Code blocks and blocks of HTML: nothing inside them is Markdown.
    pub opaque: Vec<(Range<usize>, Opaque)>,
}

/// A box of a task list, or what may be taken for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskBox {
    /// Offset of the character between the brackets; where it is no box, of its line.
    pub at: usize,
    pub ticked: bool,
    /// The text of its paragraph.
    pub text: String,
    /// The part of the text that is not struck out, where some is.
    pub not_struck: Option<String>,
    /// Whether its item has more paragraphs.
    pub goes_on: bool,
    pub sight: Sight,
}

/// What a reader sees of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Box,
    /// Characters: Markdown does not make a box of them.
    Characters,
    /// Nothing.
    Hidden,
}

/// What keeps Markdown from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opaque {
    Code,
    Comment,
    Html,
}

impl Outline {
    pub(super) fn of(story: &str) -> Self {
        let start = markdown_start(story);
        let options = Options::ENABLE_TASKLISTS
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TABLES
            | Options::ENABLE_GFM;
        let mut reader = Reader { story, ..Reader::default() };
        for (event, range) in Parser::new_ext(&story[start..], options).into_offset_iter() {
            reader.event(event, range.start + start..range.end + start);
        }
        reader.close_leaf();
        for index in reader.footnotes.hidden_boxes() {
            reader.outline.boxes[index].sight = Sight::Hidden;
        }
        reader.outline
    }
}

/// Puts events together.
#[derive(Default)]
struct Reader<'a> {
    story: &'a str,
    outline: Outline,
    /// The paragraph, or what else holds text, that is open. A tight list has no paragraphs: the text is the item's.
    leaf: Option<Leaf>,
    /// The containers that are open: for an item, the index of its box.
    containers: Vec<Option<usize>>,
    in_code: bool,
    /// The block of HTML that is open.
    html: Option<String>,
    html_state: HtmlState,
    footnotes: Footnotes,
}

impl<'a> Reader<'a> {
    fn event(&mut self, event: Event<'a>, range: Range<usize>) {
        match event {
            Event::Start(Tag::Strikethrough) => self.leaf(range.start).struck += 1,
            Event::End(TagEnd::Strikethrough) => self.leaf(range.start).strike_ends(),
            Event::Start(Tag::Image { .. }) => self.leaf(range.start).images += 1,
            Event::End(TagEnd::Image) => self.leaf(range.start).images -= 1,
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.end(tag),
            Event::TaskListMarker(ticked) => {
                // The range ends behind the brackets; it may begin with spaces.
                let at = range.end.saturating_sub(2);
                if self.story.as_bytes().get(at + 1) == Some(&b']') {
                    self.leaf(range.start).found = Some((at, ticked));
                }
            }
            Event::Text(_) if self.in_code => {}
            Event::Text(text) | Event::Code(text) => self.leaf(range.start).push(&text),
            Event::SoftBreak | Event::HardBreak => self.leaf(range.start).break_line(range.end),
            Event::Html(html) => self.html(&html, &range),
            Event::InlineHtml(html) => self.inline_html(&html, &range),
            Event::FootnoteReference(label) => self.footnotes.refer(&label),
            Event::InlineMath(_) | Event::DisplayMath(_) | Event::Rule => {}
        }
    }

    fn start(&mut self, tag: Tag<'a>, range: Range<usize>) {
        // A box that is alone on its line has its text in the paragraph below.
        let awaited = matches!(tag, Tag::Paragraph) && self.leaf.as_ref().is_some_and(Leaf::awaits_text);
        let inline = matches!(tag, Tag::Emphasis | Tag::Strong | Tag::Superscript | Tag::Subscript | Tag::Link { .. });
        if !awaited && !inline {
            self.close_leaf();
        }
        match tag {
            Tag::Heading { .. } => self.leaf(range.start).is_heading = true,
            Tag::Item | Tag::BlockQuote(_) => self.containers.push(None),
            Tag::FootnoteDefinition(label) => {
                self.containers.push(None);
                self.footnotes.open(&label);
            }
            Tag::CodeBlock(_) => {
                self.in_code = true;
                self.outline.opaque.push((range, Opaque::Code));
            }
            Tag::HtmlBlock => {
                let is_comment = self.story[range.start..].trim_start().starts_with("<!--");
                self.outline.opaque.push((range, if is_comment { Opaque::Comment } else { Opaque::Html }));
                self.html = Some(String::new());
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        if !matches!(tag, TagEnd::Emphasis | TagEnd::Strong | TagEnd::Superscript | TagEnd::Subscript | TagEnd::Link) {
            self.close_leaf();
        }
        match tag {
            TagEnd::Item | TagEnd::BlockQuote(_) => _ = self.containers.pop(),
            TagEnd::FootnoteDefinition => {
                self.containers.pop();
                self.footnotes.close();
            }
            TagEnd::CodeBlock => self.in_code = false,
            TagEnd::HtmlBlock => {
                if let Some(html) = self.html.take() {
                    self.html_state.read(&html);
                }
            }
            _ => {}
        }
    }

    /// A line of a block of HTML.
    fn html(&mut self, html: &str, range: &Range<usize>) {
        let Some(block) = &mut self.html else { return };
        if block.trim().is_empty() || !is_raw(block) {
            self.outline.blocks.extend(block_marker(self.story, range));
        }
        block.push_str(html);
    }

    fn inline_html(&mut self, html: &str, range: &Range<usize>) {
        self.outline.blocks.extend(block_marker(self.story, range));
        if html.starts_with("<!--") || self.html_state.is_hidden() {
            self.html_state.read(html);
        }
        let leaf = self.leaf(range.start);
        match tag(html) {
            InlineHtml::Strikes => leaf.struck += 1,
            InlineHtml::StrikesNoMore => leaf.strike_ends(),
            InlineHtml::LineBreak => leaf.push(" "),
            InlineHtml::Input(ticked) => leaf.push(if ticked { "☑" } else { "☐" }),
            InlineHtml::Nothing => {}
        }
    }

    fn leaf(&mut self, at: usize) -> &mut Leaf {
        let struck = usize::from(self.html_state.is_struck());
        self.leaf.get_or_insert_with(|| Leaf::at(at, struck))
    }

    fn close_leaf(&mut self) {
        let Some(leaf) = self.leaf.take() else { return };
        let index = self.outline.boxes.len();
        match (leaf.found.is_some(), self.containers.last_mut()) {
            (true, Some(item)) => *item = Some(index),
            (false, Some(Some(item))) if !leaf.is_blank() => self.outline.boxes[*item].goes_on = true,
            _ => {}
        }
        let mut found = leaf.boxes();
        for task in &mut found {
            if self.html_state.is_hidden() {
                task.sight = Sight::Hidden;
            }
        }
        self.footnotes.boxes(index..index + found.len());
        self.outline.boxes.append(&mut found);
    }
}

/// Where a block begins, if this piece of HTML is the marker and alone on its line.
fn block_marker(story: &str, range: &Range<usize>) -> Option<usize> {
    let at = range.start + story.get(range.clone())?.find(BEGIN)?;
    let is_end = |letter: char| matches!(letter, '\r' | '\n');
    let from = story[..at].rfind(is_end).map_or(0, |end| end + 1);
    let to = story[at..].find(is_end).map_or(story.len(), |end| at + end);
    (story[from..to].trim_start_matches('\u{feff}').trim() == BEGIN).then_some(at)
}
