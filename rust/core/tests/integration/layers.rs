//! What may call what, as docs/architecture.md states it, checked against the sources.
//!
//! The paths in the sources (`use` declarations, and `crate::…`, `super::…` and `self::…` anywhere
//! else) are followed to the module that they lead to, re-exports included. Code for tests is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What every module may use.
const BASE: [&str; 5] = ["checksum", "error", "memory", "scalar", "threads"];

/// What else a module may use, from bottom to top. A module that is not here may use nothing.
const LAYERS: [(&str, &[&str]); 9] = [
    ("fs", &[]),
    ("codec", &[]),
    ("tree", &[]),
    ("container", &["fs"]),
    ("trajectory", &["fs", "codec", "container", "tree"]),
    ("cache", &["fs", "codec", "container", "tree", "trajectory"]),
    ("checkpoint", &["fs", "tree"]),
    ("progress", &["fs", "tree"]),
    ("gpu", &["fs"]),
];

/// Folders whose files import each other in a circle, to be rebuilt.
const KNOWN_CYCLES: [&str; 1] = ["codec::geometry"];

type ModulePath = Vec<String>;

/// A path in a source file, as it is written.
#[derive(Debug, Clone, PartialEq)]
struct Mention {
    line: usize,
    path: Vec<String>,
    /// What a `use` declaration calls it.
    name: Option<String>,
}

#[derive(Debug)]
struct Module {
    shown: PathBuf,
    mentions: Vec<Mention>,
}

/// All modules of a crate, by path; the root has the empty one.
struct Modules(BTreeMap<ModulePath, Module>);

/// That one module uses another.
#[derive(Debug)]
struct Edge {
    from: ModulePath,
    to: ModulePath,
    place: String,
}

impl Modules {
    /// Those of the sources in a folder, which messages call `shown`.
    fn of(sources: &Path, shown: &str) -> Self {
        let mut modules = BTreeMap::new();
        for file in rust_files(sources) {
            let relative = file.strip_prefix(sources).expect("it was found there");
            let mut path: ModulePath = relative
                .with_extension("")
                .iter()
                .map(|part| part.to_str().expect("file names are ASCII").to_owned())
                .collect();
            if matches!(path.last().map(String::as_str), Some("mod" | "lib")) {
                path.pop();
            }
            if path.iter().any(|part| part == "tests") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a source file can be read");
            let shown = Path::new(shown).join(relative);
            modules.insert(path, Module { shown, mentions: mentions(&text) });
        }
        Self(modules)
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (from, module) in &self.0 {
            for mention in &module.mentions {
                if let Some(to) =
                    self.absolute(from, &mention.path).map(|path| self.module(&path, 0))
                    && to != *from
                {
                    let place = format!("{}:{}", module.shown.display(), mention.line);
                    edges.push(Edge { from: from.clone(), to, place });
                }
            }
        }
        edges
    }

    /// A path from the root of the crate; `None` for one into another crate.
    fn absolute(&self, from: &ModulePath, written: &[String]) -> Option<ModulePath> {
        let (first, rest) = written.split_first()?;
        let mut path = from.clone();
        match first.as_str() {
            "crate" => path.clear(),
            "self" => {}
            "super" => {
                path.pop();
            }
            child => {
                path.push(child.to_owned());
                if !self.0.contains_key(&path) {
                    return None;
                }
            }
        }
        for part in rest {
            if part == "super" {
                path.pop();
            } else {
                path.push(part.clone());
            }
        }
        Some(path)
    }

    /// The module in which an item is defined, as far as re-exports tell.
    fn module(&self, path: &[String], depth: usize) -> ModulePath {
        assert!(depth < 16, "the re-exports of {path:?} go in a circle");
        let mut found = ModulePath::new();
        for (at, part) in path.iter().enumerate() {
            found.push(part.clone());
            if self.0.contains_key(&found) {
                continue;
            }
            found.pop();
            let reexport = self.0[&found]
                .mentions
                .iter()
                .filter(|mention| mention.name.as_ref() == Some(part))
                .filter_map(|mention| self.absolute(&found, &mention.path))
                .find(|target| *target != path[..=at]);
            return match reexport {
                Some(mut target) => {
                    target.extend_from_slice(&path[at + 1..]);
                    self.module(&target, depth + 1)
                }
                None => found,
            };
        }
        found
    }
}

/// What the table forbids, one line for each.
fn forbidden(edges: &[Edge]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for Edge { from, to, place } in edges {
        let (Some(from), Some(to)) = (from.first(), to.first()) else { continue };
        let allowed = LAYERS.iter().find(|(name, _)| name == from).map(|(_, below)| *below);
        let is_base = BASE.contains(&to.as_str());
        let is_allowed = match allowed {
            Some(below) => is_base || below.contains(&to.as_str()),
            None => BASE.contains(&from.as_str()) && is_base,
        };
        if from != to && !is_allowed {
            let may = [&BASE, allowed.unwrap_or_default()].concat().join(", ");
            found.insert(format!(
                "{place}: `{from}` uses `{to}`; calls go down only, and `{from}` may use: {may}"
            ));
        }
    }
    found.into_iter().collect()
}

/// Imports in a circle between the files of one folder, one line for each import.
fn cycles(edges: &[Edge]) -> Vec<String> {
    let mut folders: BTreeMap<ModulePath, BTreeMap<(String, String), String>> = BTreeMap::new();
    for Edge { from, to, place } in edges {
        let shared = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        // The folder's own file (mod.rs, lib.rs) is left out.
        if from.len() > shared && to.len() > shared {
            let names = (from[shared].clone(), to[shared].clone());
            folders
                .entry(from[..shared].to_vec())
                .or_default()
                .entry(names)
                .or_insert_with(|| place.clone());
        }
    }
    let mut found = Vec::new();
    for (folder, imports) in folders {
        let folder = folder.join("::");
        if KNOWN_CYCLES.contains(&folder.as_str()) {
            continue;
        }
        for ((from, to), place) in &imports {
            if reaches(&imports, to, from) {
                found.push(format!(
                    "{place}: `{from}` imports `{to}`, which leads back to \
                     `{from}`; move what both need into a file below them"
                ));
            }
        }
    }
    found
}

fn reaches(imports: &BTreeMap<(String, String), String>, start: &str, end: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::from([start]), vec![start]);
    while let Some(name) = next.pop() {
        if name == end {
            return true;
        }
        next.extend(
            imports
                .keys()
                .filter(|(from, _)| from == name)
                .map(|(_, to)| to.as_str())
                .filter(|to| seen.insert(to)),
        );
    }
    false
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

// --- reading sources ---

/// A word or a sign, and its line.
type Token = (String, usize);

/// The words and signs of a source, without comments and without the text of literals.
fn tokens(text: &str) -> Vec<Token> {
    let (chars, mut found, mut at, mut line) = (text.chars().collect::<Vec<_>>(), vec![], 0, 1);
    let starts =
        |at: usize, start: &str| start.chars().eq(chars[at..].iter().copied().take(start.len()));
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    while at < chars.len() {
        let begin = at;
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if starts(at, "r\"")
            || starts(at, "r#\"")
            || starts(at, "br\"")
            || starts(at, "br#\"")
        {
            let hashes =
                chars[at..].iter().take_while(|&&c| c != '"').filter(|&&c| c == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            while chars[at] != '"' {
                at += 1;
            }
            at += 1;
            while !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if chars[at] == '"' {
            at += 1;
            while chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if chars[at] == '\'' {
            // A character, or the name of a lifetime.
            at += match (chars.get(at + 1), chars.get(at + 2)) {
                (Some('\\'), _) => {
                    2 + chars[at + 2..].iter().skip(1).take_while(|&&c| c != '\'').count() + 2
                }
                (Some(_), Some('\'')) => 3,
                _ => 1,
            };
        } else if is_word(chars[at]) {
            while at < chars.len() && is_word(chars[at]) {
                at += 1;
            }
            found.push((chars[begin..at].iter().collect(), line));
        } else if starts(at, "::") {
            at += 2;
            found.push(("::".to_owned(), line));
        } else {
            if !chars[at].is_whitespace() {
                found.push((chars[at].to_string(), line));
            }
            at += 1;
        }
        line += chars[begin..at.min(chars.len())].iter().filter(|&&char| char == '\n').count();
    }
    found
}

/// The paths that a source mentions, outside of code for tests.
fn mentions(text: &str) -> Vec<Mention> {
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |(word, _)| word.as_str());
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_test = ["#", "[", "cfg", "(", "test", ")", "]"]
            .iter()
            .enumerate()
            .all(|(offset, expected)| word(at + offset) == *expected);
        if is_test {
            at = end_of_item(&tokens, at + 7);
        } else if word(at) == "use" {
            at = use_tree(&tokens, at + 1, &[], &mut found);
        } else if matches!(word(at), "crate" | "super" | "self") && word(at + 1) == "::" {
            let (begin, mut path) = (at, Vec::new());
            while at < tokens.len() && (at == begin || word(at - 1) == "::") && word(at) != "<" {
                path.push(word(at).to_owned());
                at += if word(at + 1) == "::" { 2 } else { 1 };
            }
            found.push(Mention { line: tokens[begin].1, path, name: None });
        } else {
            at += 1;
        }
    }
    found
}

/// Behind the item that begins at `at`: its `;` or its braces.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].0.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return at + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Reads one tree of a `use` declaration, and gives where it ends.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Mention>) -> usize {
    let word = |at: usize| tokens.get(at).map_or("", |(word, _)| word.as_str());
    let (begin, mut path) = (at, prefix.to_vec());
    loop {
        match word(at) {
            "{" => {
                at += 1;
                while word(at) != "}" {
                    at = use_tree(tokens, at, &path, found);
                    at += usize::from(word(at) == ",");
                }
                return at + 1;
            }
            "::" => at += 1,
            "," | "}" | ";" | "as" | "" => break,
            part => {
                // `a::{self}` is `a`.
                if part != "self" || path.is_empty() {
                    path.push(part.to_owned());
                }
                at += 1;
            }
        }
    }
    let mut name = path.last().cloned();
    if word(at) == "as" {
        name = Some(word(at + 1).to_owned());
        at += 2;
    }
    let line = tokens.get(begin).map_or(0, |(_, line)| *line);
    found.push(Mention { line, path, name });
    at
}

// --- the checks ---

fn core() -> Modules {
    Modules::of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), "rust/core/src")
}

fn bindings() -> Modules {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/../bindings/src");
    Modules::of(Path::new(sources), "rust/bindings/src")
}

fn listed(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "\n{line}");
        text
    })
}

#[test]
fn layers_call_down_only() {
    let found = forbidden(&core().edges());
    assert!(found.is_empty(), "{}", listed(&found));
}

#[test]
fn no_files_of_a_folder_import_each_other_in_a_circle() {
    let found = [cycles(&core().edges()), cycles(&bindings().edges())].concat();
    assert!(found.is_empty(), "{}", listed(&found));
}

#[test]
fn the_table_names_every_module_of_the_crate() {
    let modules = core();
    let found: BTreeSet<&str> =
        modules.0.keys().filter_map(|path| path.first()).map(String::as_str).collect();
    let table: BTreeSet<&str> =
        BASE.into_iter().chain(LAYERS.iter().map(|(name, _)| *name)).collect();
    assert_eq!(found, table);
}

#[test]
fn the_core_knows_no_python() {
    let manifest = include_str!("../../Cargo.toml");
    for library in ["pyo3", "numpy"] {
        assert!(!manifest.contains(library), "the core may not depend on {library}");
    }
}

/// The checks themselves, on a crate made for it: what they would miss, nobody would notice.
mod checks {
    use super::*;

    /// A crate of these files.
    fn made(files: &[(&str, &str)]) -> Vec<Edge> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("it is in the folder")).expect("made");
            std::fs::write(file, text).expect("written");
        }
        Modules::of(folder.path(), "src").edges()
    }

    #[test]
    fn an_import_upwards_is_found_with_its_line() {
        let edges = made(&[
            ("lib.rs", "mod codec; mod fs;"),
            ("fs/mod.rs", ""),
            ("codec/mod.rs", "//! use crate::fs;\n\nuse crate::{error::Error, fs::Disk};"),
            ("error.rs", ""),
        ]);
        let found = forbidden(&edges);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("codec/mod.rs:3: `codec` uses `fs`"), "{found:?}");
    }

    #[test]
    fn paths_in_code_and_through_the_root_count_as_imports() {
        let edges = made(&[
            ("lib.rs", "pub use cache::Cache; mod cache; mod fs;"),
            ("cache.rs", "pub struct Cache;"),
            ("fs.rs", "fn one() { crate::Cache::new(); }\nfn two() { super::cache::x() }"),
        ]);
        assert_eq!(forbidden(&edges).len(), 2, "{edges:?}");
    }

    #[test]
    fn tests_may_import_anything() {
        let edges = made(&[
            ("lib.rs", "mod cache; mod fs;"),
            ("cache.rs", ""),
            ("fs.rs", "#[cfg(test)]\nmod tests { use crate::cache::Cache; fn f() {} }"),
            ("fs/tests.rs", "use crate::cache::Cache;"),
        ]);
        assert!(forbidden(&edges).is_empty(), "{edges:?}");
    }

    #[test]
    fn a_circle_of_three_files_is_found_and_one_through_the_folder_is_not() {
        let edges = made(&[
            ("lib.rs", "mod fs;"),
            ("fs/mod.rs", "pub use one::One; mod one; mod two; mod three; mod four;"),
            ("fs/one.rs", "use super::two::Two;"),
            ("fs/two.rs", "use crate::fs::three;"),
            ("fs/three.rs", "use super::One;"),
            ("fs/four.rs", "use super::{One, Other};"),
        ]);
        let found = cycles(&edges);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("`one` imports `two`"), "{found:?}");
    }
}
