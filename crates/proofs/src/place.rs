//! Where a file stands for the tools that build it: the binary and module of a Rust file, the package of a Go file.

use std::path::Path;

use super::source::{Declared, declares};

/// The place of a Rust file in its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crate {
    /// The ids that nextest gives the binaries which may hold it; one that ends in `/` or `::` stands for all that begin so.
    binaries: Vec<String>,
    /// The modules that the file's path gives.
    pub modules: Vec<String>,
}

impl Crate {
    /// Finds the place of a file; `None` without a Cargo.toml.
    pub fn of(root: &Path, file: &str) -> Option<Self> {
        let path = root.join(file);
        let path = path.canonicalize().unwrap_or(path);
        let (directory, manifest) = path.ancestors().skip(1).find_map(|directory| {
            let text = std::fs::read_to_string(directory.join("Cargo.toml")).ok()?;
            let manifest: toml::Table = text.parse().ok()?;
            manifest.get("package")?;
            Some((directory.to_owned(), manifest))
        })?;
        let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
        let below = path.strip_prefix(&directory).ok()?.to_str()?.to_owned();
        Some(declared(&manifest, &name, &below).unwrap_or_else(|| Self::by_place(&directory, &name, &below)))
    }

    /// Whether nextest's id of a binary is one that may hold the file.
    pub fn is_binary(&self, id: &str) -> bool {
        self.binaries
            .iter()
            .any(|known| if known.ends_with(['/', ':']) { id.starts_with(known.as_str()) } else { id == known })
    }

    /// By cargo's own layout of a package.
    fn by_place(directory: &Path, package: &str, below: &str) -> Self {
        let parts: Vec<&str> = below.split('/').collect();
        let kind = match parts[0] {
            "tests" => Some("::".to_owned()),
            "examples" => Some("::example/".to_owned()),
            "benches" => Some("::bench/".to_owned()),
            "src" if parts.len() > 2 && parts[1] == "bin" => Some("::bin/".to_owned()),
            _ => None,
        };
        let from = if parts[0] == "src" && kind.is_some() { 2 } else { 1 };
        match (kind, parts.get(from..).unwrap_or_default()) {
            (Some(kind), [file]) => {
                let stem = file.strip_suffix(".rs").unwrap_or(file);
                Self { binaries: vec![format!("{package}{kind}{stem}")], modules: Vec::new() }
            }
            (Some(kind), [target, rest @ ..]) => {
                let main = parts[..=from].join("/") + "/main.rs";
                if directory.join(main).is_file() {
                    Self { binaries: vec![format!("{package}{kind}{target}")], modules: modules(rest) }
                } else {
                    // A module that the binaries of this directory may share.
                    Self { binaries: vec![format!("{package}{kind}")], modules: modules(&parts[from..]) }
                }
            }
            _ => {
                let rest = if parts[0] == "src" { &parts[1..] } else { &parts[..] };
                let binaries = match rest {
                    ["main.rs"] => vec![format!("{package}::bin/{package}")],
                    ["lib.rs"] => vec![package.to_owned()],
                    _ => vec![package.to_owned(), format!("{package}::bin/")],
                };
                Self { binaries, modules: modules(rest) }
            }
        }
    }
}

/// Targets whose path the manifest gives.
fn declared(manifest: &toml::Table, package: &str, below: &str) -> Option<Crate> {
    let kinds = [("test", "::"), ("bin", "::bin/"), ("example", "::example/"), ("bench", "::bench/")];
    let targets = kinds.iter().flat_map(|(key, kind)| {
        let list = manifest.get(*key).and_then(toml::Value::as_array);
        list.into_iter().flatten().map(move |target| (target, *kind))
    });
    let lib = manifest.get("lib").map(|target| (target, ""));
    targets.chain(lib).find_map(|(target, kind)| {
        let path = target.get("path")?.as_str()?;
        let binary = match kind {
            "" => package.to_owned(),
            kind => format!("{package}{kind}{}", target.get("name")?.as_str()?),
        };
        if path == below {
            return Some(Crate { binaries: vec![binary], modules: Vec::new() });
        }
        let (directory, _) = path.rsplit_once('/')?;
        let rest = below.strip_prefix(directory)?.strip_prefix('/')?;
        // Files of src/ and tests/ themselves may be of other targets too.
        let shared = ["src", "tests", "examples", "benches"].contains(&directory);
        (!shared).then(|| Crate { binaries: vec![binary], modules: modules(&rest.split('/').collect::<Vec<_>>()) })
    })
}

/// The modules of a path below the directory of its crate's root.
fn modules(parts: &[&str]) -> Vec<String> {
    let mut modules: Vec<String> =
        parts.iter().map(|part| part.strip_suffix(".rs").unwrap_or(part).to_owned()).collect();
    if modules.last().is_some_and(|last| last == "mod" || (modules.len() == 1 && (last == "lib" || last == "main"))) {
        modules.pop();
    }
    modules
}

/// The modules of a file that have files of their own.
pub(crate) fn modules_below(file: &Path) -> Vec<String> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let directory = match name {
        "mod.rs" | "lib.rs" | "main.rs" => file.parent().map(Path::to_owned),
        _ => Some(file.with_extension("")),
    };
    let entries = directory.and_then(|directory| std::fs::read_dir(directory).ok()).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned()).collect()
}

/// Whether a file is in a cargo package.
pub(crate) fn is_packaged(path: &Path) -> bool {
    let is_package = |directory: &Path| {
        let text = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
        text.parse::<toml::Table>().is_ok_and(|manifest| manifest.contains_key("package"))
    };
    path.ancestors().skip(1).any(is_package)
}

/// Why a Rust file is not built: the module that it is, or one around it, is declared by no file or under a condition that never holds.
/// `None` also where that can't be told.
pub(crate) fn never_built(path: &Path, depth: usize) -> Option<String> {
    let directory = path.parent()?;
    let file = path.file_name()?.to_str()?;
    let is_target =
        |path: &Path| ["src", "tests", "examples", "benches", "bin"].iter().any(|name| path.ends_with(name));
    let (module, around) = match file {
        "lib.rs" | "main.rs" | "build.rs" => return None,
        "mod.rs" => (directory.file_name()?.to_str()?, directory.parent()?),
        _ => (file.strip_suffix(".rs")?, directory),
    };
    // A file of these directories is a program of its own; those of src/ are modules.
    if depth > 16 || (file != "mod.rs" && is_target(directory) && !directory.ends_with("src")) {
        return None;
    }
    let parents = ["mod.rs", "lib.rs", "main.rs"].map(|name| around.join(name));
    let parents = parents.into_iter().chain((!is_target(around)).then(|| around.with_extension("rs")));
    let parents: Vec<_> = parents.filter_map(|path| Some((std::fs::read_to_string(&path).ok()?, path))).collect();
    let name = if file == "mod.rs" { format!("{module}/mod.rs") } else { file.to_owned() };
    let name = name.rsplit('/').next().unwrap_or(file);
    let mut why = None;
    for (text, parent) in &parents {
        match declares(text, module, name) {
            Declared::Built => return never_built(parent, depth + 1),
            Declared::Never(reason) => why = Some(reason),
            Declared::No => {}
        }
    }
    if parents.is_empty() {
        None
    } else {
        why.or_else(|| Some(format!("it is not built: no file says `mod {module};`")))
    }
}

/// Whether a class that a Go runner tells is the package of a file: its import path, or the end of it where that is one package's alone.
pub(crate) fn is_go_package(root: &Path, file: &str, class: &str, files: &[String]) -> bool {
    let directory = |file: &str| file.rsplit_once('/').map_or(String::new(), |(directory, _)| directory.to_owned());
    let own = directory(file);
    let above: Vec<&str> = std::iter::successors(Some(own.as_str()), |path| {
        (!path.is_empty()).then(|| path.rsplit_once('/').map_or("", |(above, _)| above))
    })
    .collect();
    let module = above.iter().find_map(|above| {
        let text = std::fs::read_to_string(root.join(above).join("go.mod")).ok()?;
        let name =
            text.lines().find_map(|line| line.trim().strip_prefix("module "))?.trim().trim_matches('"').to_owned();
        let rest = own.strip_prefix(above).unwrap_or(&own).trim_matches('/').to_owned();
        Some(if rest.is_empty() { name } else { format!("{name}/{rest}") })
    });
    let ends = |whole: &str, end: &str| {
        !end.is_empty() && whole.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    let others = || {
        files.iter().filter(|file| file.ends_with("_test.go")).map(|file| directory(file)).filter(|other| *other != own)
    };
    match module {
        Some(module) => class == module || (ends(&module, class) && !others().any(|other| ends(&other, class))),
        None if own.is_empty() => !class.is_empty() && !others().any(|other| ends(class, &other)),
        None => {
            (ends(class, &own) || ends(&own, class))
                && !others().any(|other| other.len() > own.len() && ends(class, &other) || ends(&other, class))
        }
    }
}
