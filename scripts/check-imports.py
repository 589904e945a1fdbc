#!/usr/bin/env python3
"""Checks who imports whom. Part of `just lint`; Python 3.11, standard library only.

1. A crate of this workspace depends only on the crates that ALLOWED lists for it (dev-dependencies are free).
2. The crates in PURE depend on no runtime, client or load engine, not even through other crates.
3. Within a harness crate there is no import cycle that crosses a folder. Modules of one folder may import each other.

`--self-test` shows that each check can fail.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CORE, STACK_BASE = "cacheproof-core", ["cacheproof-core", "cacheproof-proxy", "cacheproof-supervise"]
RUNNER = [*STACK_BASE, "cacheproof-stack", "cacheproof-load"]

# Which crates of this workspace a crate may depend on.
ALLOWED = {
    "cacheproof-core": [],
    "cacheproof-verdict": [CORE],
    "cacheproof-report": [CORE, "cacheproof-verdict"],
    "cacheproof-proofs": [CORE],
    "cacheproof-simulated": [CORE],
    "cacheproof-fuzz": [CORE, "cacheproof-load", "cacheproof-report", "cacheproof-simulated", "cacheproof-supervise", "cacheproof-verdict"],
    "cacheproof-proxy": [CORE],
    "cacheproof-supervise": [CORE],
    "cacheproof-stack": STACK_BASE,
    "cacheproof-load": [CORE],
    "cacheproof-runner": RUNNER,
    "cacheproof": [*RUNNER, "cacheproof-runner", "cacheproof-verdict", "cacheproof-report", "cacheproof-proofs",
                   "reference-app"],
    "cache-layer-macros": [],
    "cache-layer": ["cache-layer-macros"],
    "reference-app": ["cache-layer"],
    "defective-app": ["cache-layer", "reference-app"],
}

# A journal is judged and a report is rendered without any of these.
PURE = ["cacheproof-core", "cacheproof-verdict", "cacheproof-report"]
IMPURE = {"tokio", "sqlx", "redis", "goose"}

HARNESS = ["core", "proofs", "verdict", "report", "proxy", "supervise", "stack", "load", "runner"]

DEPENDENCY_TABLES = ["dependencies", "build-dependencies"]


def crate_dependencies(manifest):
    """The crates of this workspace that a manifest names, dev-dependencies aside."""
    tables = [manifest, *manifest.get("target", {}).values()]
    names = {
        spec.get("package", name) if isinstance(spec, dict) else name
        for table in tables
        for key in DEPENDENCY_TABLES
        for name, spec in table.get(key, {}).items()
    }
    return names & ALLOWED.keys()


def check_dependencies(manifests):
    """Problems with the dependencies between the crates of these manifests."""
    for manifest in manifests:
        name = manifest["package"]["name"]
        if name not in ALLOWED:
            yield f"{name} is not in ALLOWED in scripts/check-imports.py: say what it may depend on"
            continue
        for wrong in sorted(crate_dependencies(manifest) - set(ALLOWED[name])):
            yield f"{name} must not depend on {wrong}"


def check_purity(crate, tree):
    """Problems in the output of `cargo tree --prefix none`."""
    found = {line.split()[0] for line in tree.splitlines() if line.strip()}
    for wrong in sorted(found & IMPURE):
        yield f"{crate} must not depend on {wrong}: see `cargo tree -p {crate} -e normal -i {wrong}`"


# ---- Rust sources ----

NOISE = re.compile(
    r"""//[^\n]* | /\*.*?\*/                                    # comments
      | b?r(\#*)".*?"\1 | b?"(?:\\.|[^"\\])*" | b?'(?:\\.|[^'\\])'  # strings and characters""",
    re.VERBOSE | re.DOTALL,
)
TEST_ITEM = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?(?:mod|fn|use|impl|static|const|struct)\b")
DEFINITION = re.compile(r"\b(?:fn|struct|enum|trait|type|const|static|union)\s+(?:mut\s+)?(\w+)|macro_rules!\s*(\w+)")
USE = re.compile(r"(pub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);")
PATH = re.compile(r"(?<![\w:$])((?:crate|self|super)(?:::\w+)+)")


def strip(text):
    """The source without comments, strings and test code."""
    text = NOISE.sub(lambda match: "''" if match[0][-1] in "\"'" else " ", text)
    while match := TEST_ITEM.search(text):
        end, depth = match.end(), 0
        while end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
            if depth == 0 and text[end - 1] in "};":
                break
        text = text[: match.start()] + text[end:]
    return text


def use_tree(text):
    """The paths of a `use` declaration, as (path, name) pairs; the name of a glob is `*`."""
    text = text.strip()
    if "{" in text:
        head, rest = text.split("{", 1)
        depth, part = 0, ""
        for letter in rest.rsplit("}", 1)[0] + ",":
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                if part.strip():
                    yield from use_tree(head.strip() + part.strip())
                part = ""
            else:
                part += letter
        return
    path, _, alias = text.partition(" as ")
    parts = [part.strip() for part in path.split("::") if part.strip()]
    if parts and parts[-1] == "self" and len(parts) > 1:
        parts.pop()
    if parts:
        yield parts, alias.strip() or parts[-1]


class Crate:
    """The modules of one crate and what each imports. A module is the tuple of its names; the root is ()."""

    def __init__(self, source):
        self.source = source
        self.files, self.texts = {}, {}
        for path in sorted(source.rglob("*.rs")):
            parts = list(path.relative_to(source).with_suffix("").parts)
            if "tests" in parts or parts == ["main"] or parts[0] == "bin":
                continue
            if parts[-1] in ("mod", "lib"):
                parts.pop()
            self.files[tuple(parts)] = path
        for module, path in self.files.items():
            self.texts[module] = strip(path.read_text())
        self.defined = {
            module: {first or second for first, second in DEFINITION.findall(text)} for module, text in self.texts.items()
        }
        self.uses = {
            module: [(bool(public), *pair) for public, tree in USE.findall(text) for pair in use_tree(tree)]
            for module, text in self.texts.items()
        }

    def absolute(self, module, parts):
        """A path as written in a module, from the crate's root; None where it leads out of the crate."""
        if parts[0] == "crate":
            return tuple(parts[1:])
        at = module
        while parts and parts[0] in ("self", "super"):
            at, parts = (at[:-1] if parts[0] == "super" else at), parts[1:]
            if not parts:
                return at
            if parts[0] not in ("self", "super"):
                return at + tuple(parts)
        return module + tuple(parts) if module + (parts[0],) in self.files else None

    def home(self, path, seen=frozenset()):
        """The module in which the item of an absolute path is defined, through re-exports; None: not in this crate."""
        module, rest = path, ()
        while module not in self.files:
            module, rest = module[:-1], (module[-1], *rest)
        if not rest or rest[0] == "*" or rest[0] in self.defined[module] or (module, rest[0]) in seen:
            return module
        seen = seen | {(module, rest[0])}
        globs = []
        for _, parts, name in self.uses[module]:
            if name == rest[0]:
                target = self.absolute(module, list(parts))
                return None if target is None else self.home(target, seen)
            if name == "*" and (target := self.absolute(module, list(parts[:-1]))) is not None:
                globs.append(target)
        for target in globs:
            found = self.home(target + rest[:1], seen)
            if found is not None and rest[0] in self.defined[found]:
                return found
        return module

    def imports(self, module):
        """The modules of this crate that a module uses something of."""
        paths = [(public, parts) for public, parts, _ in self.uses[module]]
        paths += [(False, path.split("::")) for path in PATH.findall(USE.sub("", self.texts[module]))]
        for public, parts in paths:
            target = self.absolute(module, list(parts))
            home = None if target is None else self.home(target)
            # A folder's face may show what is inside it.
            if home not in (None, module) and not (public and home[: len(module)] == module):
                yield home

    def name(self, module):
        return str(self.files[module].relative_to(self.source))


def cycle(edges):
    """Nodes that reach each other, or an empty list."""
    def reach(start):
        found, left = set(), [start]
        while left:
            for node in edges.get(left.pop(), ()):
                if node not in found:
                    found.add(node)
                    left.append(node)
        return found

    reached = {node: reach(node) for node in edges}
    for node in sorted(edges):
        together = [other for other in sorted(reached[node]) if node in reached.get(other, ())]
        if len(together) > 1:
            yield together


def check_cycles(source, name):
    """Import cycles of a crate that cross a folder."""
    crate = Crate(source)
    edges = {module: set(crate.imports(module)) for module in crate.files}
    folders = {module[:length] for module in crate.files for length in range(len(module))}
    reported = set()
    for folder in sorted(folders):
        # What lies in this folder: each file, and each folder as one.
        def entry(module):
            return None if module[: len(folder)] != folder else module[: len(folder) + 1]

        inside = {}
        for module, targets in edges.items():
            for target in targets:
                pair = entry(module), entry(target)
                if None not in pair and pair[0] != pair[1]:
                    inside.setdefault(pair[0], set()).add(pair[1])
        for together in cycle(inside):
            crosses = any(node in folders and node != folder for node in together)
            if crosses and tuple(together) not in reported:
                reported.add(tuple(together))
                steps = [
                    f"    {crate.name(module)} -> {crate.name(target)}"
                    for module in sorted(edges)
                    for target in sorted(edges[module])
                    if entry(module) in together and entry(target) in together and entry(module) != entry(target)
                ]
                yield f"{name}: these import each other:\n" + "\n".join(steps)


# ---- the whole ----


def check_workspace():
    manifests = [ROOT / "Cargo.toml", *sorted(ROOT.glob("crates/*/Cargo.toml"))]
    yield from check_dependencies([tomllib.loads(path.read_text()) for path in manifests])
    command = ["cargo", "tree", "--edges", "normal", "--prefix", "none"]
    command += [part for crate in PURE for part in ("--package", crate)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if output.returncode != 0:
        yield f"`{' '.join(command)}` failed: {output.stderr.strip()}"
    for tree in filter(None, output.stdout.split("\n\n")):
        yield from check_purity(tree.split()[0], tree)
    for crate in HARNESS:
        yield from check_cycles(ROOT / "crates" / crate / "src", crate)
    yield from check_cycles(ROOT / "src", "cacheproof")


def self_test():
    """Each check finds a planted problem, and nothing in a sound tree."""
    manifest = {"package": {"name": "cacheproof-core"}, "dependencies": {"serde": "1"}}
    assert not list(check_dependencies([manifest]))
    manifest["dependencies"]["runner"] = {"package": "cacheproof-runner"}
    assert list(check_dependencies([manifest])) == ["cacheproof-core must not depend on cacheproof-runner"]
    assert not list(check_purity("core", "core v0.1.0\nserde v1.0.0\n"))
    assert len(list(check_purity("core", "core v0.1.0\ntokio v1.0.0\n"))) == 1

    sound = {
        "lib.rs": "mod app;\nmod fault;\npub use app::App;\nuse crate::fault::Engine;",
        "app/mod.rs": "mod error;\npub use error::*;\npub struct App;\n// use crate::fault::Engine;",
        "app/error.rs": "use super::App;\npub struct AppError;\n#[cfg(test)]\nmod tests { use crate::fault::Engine; }",
        "fault/mod.rs": "mod engine;\npub use engine::Engine;",
        "fault/engine.rs": "use crate::app::{App, AppError as E};\npub struct Engine;\nconst S: &str = \"crate::Engine\";",
    }
    planted = {
        "a sibling folder": ("app/error.rs", "use crate::fault::Engine;\npub struct AppError;"),
        "without `use`": ("app/mod.rs", "mod error;\npub use error::*;\npub struct App(crate::fault::Engine);"),
        "through super": ("app/error.rs", "pub struct AppError;\nuse super::super::fault::{Engine};"),
        "the root's own item": ("lib.rs", "mod app;\nmod fault;\npub struct App;\nuse fault::Engine;"),
    }
    for what, (file, text) in [("sound", ("lib.rs", sound["lib.rs"])), *planted.items()]:
        with tempfile.TemporaryDirectory() as directory:
            files = sound | {file: text}
            if what == "the root's own item":
                files["fault/engine.rs"] = "use crate::App;\npub struct Engine;"
            for name, content in files.items():
                path = Path(directory) / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(content)
            found = list(check_cycles(Path(directory), "planted"))
            assert bool(found) == (what != "sound"), f"{what}: {found}"
    print("check-imports: every check can fail")


def main():
    if "--self-test" in sys.argv[1:]:
        self_test()
        return 0
    problems = list(check_workspace())
    for problem in problems:
        print(f"check-imports: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
