//! The text between the markers.

use super::super::JudgedRun;
use super::super::markdown::{criteria_table, sign};
use super::super::text::{code, markdown};
use super::super::view::criteria;

/// More criteria than these are counted, not listed.
const MAX_CRITERIA: usize = 60;

/// The block's text without its markers; lines end in `\n`. `folder` is the
/// directory beside the story, `files` its files.
pub(super) fn block(judged: &JudgedRun, folder: &str, files: &[&str]) -> String {
    let verdict = &judged.verdict;
    let folder = percent_encoded(folder);
    let mut text = format!("**{}** — {}\n", sign(verdict.ruling), markdown(&verdict.summary, 400));
    if let Some(start) = &judged.measurements.start {
        let git = if start.git.is_empty() { String::new() } else { format!(", commit {}", code(&start.git, 60)) };
        text += &format!(
            "Measured by cacheproof {} on {}: {}{git}.\n",
            markdown(&start.cacheproof, 40),
            markdown(&start.started_at, 40),
            markdown(&judged.scenario.title, 200)
        );
    }
    text += &format!("\n{}", criteria_table(&criteria(verdict), MAX_CRITERIA));
    let blocking: Vec<String> = verdict
        .validity
        .iter()
        .filter(|finding| finding.blocking)
        .map(|finding| format!("- ⚠️ {}\n", markdown(&finding.text, 600)))
        .collect();
    if !blocking.is_empty() {
        text += &format!("\n{}", blocking.concat());
    }
    if files.contains(&"summary.png") {
        text += &format!("\n![Verdict, criteria and charts of the run]({folder}/summary.png)\n");
    }
    let figures: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let name = file.strip_suffix(".svg")?;
            Some(format!("![{}]({folder}/{file})\n", name.replace('-', " ")))
        })
        .collect();
    if !figures.is_empty() {
        text += &format!("\n<details><summary>Charts</summary>\n\n{}\n</details>\n", figures.concat());
    }
    if files.contains(&super::super::HTML_FILE) {
        text += &format!("\n[The whole report]({folder}/{})", super::super::HTML_FILE);
        if let Some(start) = &judged.measurements.start {
            text += &format!(", run {}", code(&start.run_id, 100));
        }
        text += ".\n";
    }
    text
}

/// A folder's name in a link.
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}
