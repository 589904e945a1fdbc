//! What stands between the markers.

use super::super::Judged;
use super::super::markdown::{criteria, sign};
use super::super::text::{code, markdown};

/// A criterion more than these is counted, not listed.
const MOST: usize = 60;

/// The block's text without its markers; lines end in `\n`. `folder` and `files` are what stands beside the
/// story.
pub(super) fn block(judged: &Judged, folder: &str, files: &[&str]) -> String {
    let verdict = &judged.verdict;
    let folder = address(folder);
    let mut text = format!("**{}** — {}\n", sign(verdict.ruling), markdown(&verdict.summary, 400));
    if let Some(start) = &judged.seen.start {
        let git = if start.git.is_empty() { String::new() } else { format!(", commit {}", code(&start.git, 60)) };
        text += &format!(
            "Measured by cacheproof {} on {}: {}{git}.\n",
            markdown(&start.cacheproof, 40),
            markdown(&start.started_at, 40),
            markdown(&judged.scenario.title, 200)
        );
    }
    text += &format!("\n{}", criteria(verdict, MOST));
    let grave: Vec<String> = verdict
        .validity
        .iter()
        .filter(|finding| finding.grave)
        .map(|finding| format!("- ⚠️ {}\n", markdown(&finding.text, 600)))
        .collect();
    if !grave.is_empty() {
        text += &format!("\n{}", grave.concat());
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
        if let Some(start) = &judged.seen.start {
            text += &format!(", run {}", code(&start.run_id, 100));
        }
        text += ".\n";
    }
    text
}

/// A folder's name in a link.
fn address(name: &str) -> String {
    let mut address = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address += &format!("%{byte:02X}");
        }
    }
    address
}
