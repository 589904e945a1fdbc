//! The source files of the project: which there are, and when they were last changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;

use super::source::Language;

/// Directories that hold no source of the project's own.
const FOREIGN: [&str; 6] = ["node_modules", "target", "vendor", "venv", "dist", "build"];
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 12;

/// The source files below a directory, as paths in it.
#[derive(Clone, Debug)]
pub(crate) struct SourceTree {
    pub root: PathBuf,
    pub files: Vec<String>,
    /// Whether git says which files belong to the project.
    is_git: bool,
}

impl SourceTree {
    /// The files that git knows or would add; outside git all, within bounds.
    pub fn of(root: &Path) -> Self {
        let known = git_files(root);
        let is_git = known.is_some();
        let files = known.unwrap_or_else(|| {
            let mut files = Vec::new();
            walk(root, "", 0, &mut files);
            files
        });
        Self {
            root: root.to_owned(),
            files: files.into_iter().filter(|file| Language::of(file).is_some()).collect(),
            is_git,
        }
    }

    /// The last change of what a test in `file` is about: of that file, and in a git repository of any source file. `None` where the
    /// time is not known.
    pub fn last_change(&self, file: &str) -> Option<(String, Timestamp)> {
        let own = (file.to_owned(), changed(&self.root.join(file))?);
        let others = self.files.iter().filter(|_| self.is_git);
        let others = others.filter_map(|file| Some((file.clone(), changed(&self.root.join(file))?)));
        let newest = others.max_by_key(|(_, at)| *at).filter(|(_, at)| *at > own.1);
        Some(newest.unwrap_or(own))
    }

    /// Whether a path that a runner tells is this file's, and no other file's. It may begin above the root or below it.
    pub fn is_file(&self, told: &str, file: &str) -> bool {
        let told = told.replace('\\', "/");
        let told = told.strip_prefix("file://").unwrap_or(&told);
        let told = told.strip_prefix("./").unwrap_or(told);
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        if let Ok(below) = Path::new(told).strip_prefix(&root) {
            return below == Path::new(file);
        }
        let ends = |longer: &str, shorter: &str| {
            longer.strip_suffix(shorter).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        if ends(told, file) {
            // The longest path of the tree that fits is the one that is meant.
            return !self.files.iter().any(|other| other.len() > file.len() && ends(told, other));
        }
        ends(file, told) && !self.files.iter().any(|other| other != file && ends(other, told))
    }

    /// Whether the last `parts` of this file's path, without the extension, are those of no other file.
    pub fn is_alone(&self, file: &str, parts: usize) -> bool {
        let last = |file: &str| {
            let parts_of: Vec<String> = stem_parts(file);
            let extension = Language::of(file);
            (extension, parts_of[parts_of.len().saturating_sub(parts)..].to_vec())
        };
        let wanted = last(file);
        !self.files.iter().any(|other| other != file && last(other) == wanted)
    }
}

/// The parts of a path, the last without its extension.
pub(crate) fn stem_parts(file: &str) -> Vec<String> {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    stem.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

fn changed(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(std::fs::metadata(path).ok()?.modified().ok()?).ok()
}

fn git_files(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()?;
    let files = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| files.split('\0').filter(|file| !file.is_empty()).map(str::to_owned).collect())
}

fn walk(directory: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if files.len() >= MAX_FILES || name.starts_with('.') {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < MAX_DEPTH && !FOREIGN.contains(&name.as_str()) => {
                walk(&entry.path(), &format!("{prefix}{name}/"), depth + 1, files);
            }
            Ok(kind) if kind.is_file() => files.push(format!("{prefix}{name}")),
            _ => {}
        }
    }
}
