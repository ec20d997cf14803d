//! What may call what, as docs/architecture.md states it, checked against the sources.
//!
//! The paths in the sources (`use` declarations, and `crate::…`, `super::…` and `self::…` anywhere
//! else) are followed to the module that they lead to, re-exports included. Code for tests is left
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// What every module may use.
const BASE: [&str; 10] = [
    "batch_system",
    "checksum",
    "clock",
    "error",
    "interrupt",
    "memory",
    "per_process",
    "scalar",
    "threads",
    "variables",
];

/// What else a module may use, from bottom to top. A module that is not here may use nothing.
const LAYERS: [(&str, &[&str]); 10] = [
    ("fs", &[]),
    ("codec", &[]),
    ("tree", &[]),
    ("topology", &[]),
    ("container", &["fs"]),
    ("trajectory", &["fs", "codec", "container", "topology", "tree"]),
    ("cache", &["fs", "codec", "container", "topology", "tree", "trajectory"]),
    ("checkpoint", &["fs", "tree"]),
    ("progress", &["fs", "tree"]),
    ("gpu", &["fs"]),
];

/// Those of the bindings: `ProgressTracker` makes `TaskHandle`, which holds its tracker. They are
/// one idea in two files.
const CYCLES_OF_BINDINGS: [&str; 1] = ["progress"];

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
fn cycles(edges: &[Edge], known: &[&str]) -> Vec<String> {
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
        if known.contains(&folder.as_str()) {
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

pub(super) fn rust_files(folder: &Path) -> Vec<PathBuf> {
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

/// Whether what has these attributes is code for tests.
pub(super) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// The paths that a source mentions, outside of code for tests.
fn mentions(text: &str) -> Vec<Mention> {
    let mut found = Mentions::default();
    found.visit_file(&syn::parse_file(text).expect("the compiler has read it, too"));
    found.0
}

#[derive(Default)]
struct Mentions(Vec<Mention>);

impl Mentions {
    fn add(&mut self, ident: &syn::Ident, path: &[String], name: Option<String>) {
        self.0.push(Mention { line: ident.span().start().line, path: path.to_vec(), name });
    }

    /// What one tree of a `use` declaration imports.
    fn add_tree(&mut self, tree: &syn::UseTree, path: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.add_tree(&inner.tree, path);
                path.pop();
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(tree, path));
            }
            // `a::{self}` is `a`.
            syn::UseTree::Name(leaf) if leaf.ident == "self" => {
                self.add(&leaf.ident, path, path.last().cloned());
            }
            syn::UseTree::Name(syn::UseName { ident }) => {
                path.push(ident.to_string());
                self.add(ident, path, Some(ident.to_string()));
                path.pop();
            }
            syn::UseTree::Rename(syn::UseRename { ident, rename, .. }) => {
                path.push(ident.to_string());
                self.add(ident, path, Some(rename.to_string()));
                path.pop();
            }
            // All of a module: an import of it, if not of anything by name.
            syn::UseTree::Glob(_) => {
                let here = syn::Ident::new("all", tree.span());
                self.add(&here, path, None);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Mentions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if words.len() > 1 && matches!(words[0].as_str(), "crate" | "super" | "self") {
            self.add(&path.segments[0].ident, &words, None);
        }
        visit::visit_path(self, path);
    }

    /// Arguments of macros are read where they are expressions, as those of `format!` are.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let arguments = Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        for argument in call.parse_body_with(arguments).into_iter().flatten() {
            Mentions::visit_expr(self, &argument);
        }
        visit::visit_macro(self, call);
    }
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
    let found =
        [cycles(&core().edges(), &[]), cycles(&bindings().edges(), &CYCLES_OF_BINDINGS)].concat();
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
            #[expect(clippy::disallowed_methods, reason = "nothing here has to be durable")]
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
        let found = cycles(&edges, &[]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("`one` imports `two`"), "{found:?}");
    }
}
