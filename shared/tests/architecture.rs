//! The rooms of the library as `docs/architecture.md` has them: which room may use which, and that no files of a room go round in
//! circles. And the page itself: the files and functions that it names exist.
//!
//! What the code uses is read from its tokens. Test code is left out: what follows `#[cfg(test)]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const PAGE: &str = include_str!("../../docs/architecture.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A path in code: `["crate", "fleet", "Member"]`.
type Names = Vec<String>;

/// What a file of the library says of itself and of others.
#[derive(Default)]
struct Module {
    /// Its file, from `shared/src`.
    file: String,
    /// Modules with a file of their own below it.
    children: BTreeSet<String>,
    /// What it defines.
    items: BTreeSet<String>,
    /// What it imports, by the name that it has here.
    imports: BTreeMap<String, Names>,
    /// The imports that it only hands on: `pub use`.
    exported: BTreeSet<String>,
    /// Where all names are imported from.
    globs: Vec<Names>,
    /// Paths in its code besides imports.
    paths: Vec<Names>,
    /// Every name in its code besides imports.
    names: BTreeSet<String>,
}

impl Module {
    fn read(&mut self, code: TokenStream, is_outermost: bool) {
        let code: Vec<TokenTree> = code.into_iter().collect();
        let mut at = 0;
        while let Some(token) = code.get(at) {
            at += match token {
                TokenTree::Punct(sign) if sign.as_char() == '#' => attribute(&code[at..]),
                TokenTree::Group(group) => {
                    self.read(group.stream(), false);
                    1
                }
                // What follows `use<` is what a type captures.
                TokenTree::Ident(word) if word == "use" && !is_sign(code.get(at + 1), '<') => {
                    self.import(&code, at)
                }
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    self.names.insert(word.clone());
                    if let (true, Some(TokenTree::Ident(name))) = (is_outermost, code.get(at + 1)) {
                        self.define(&word, name.to_string(), code.get(at + 2));
                    }
                    self.path(&code[at..])
                }
                _ => 1,
            };
        }
    }

    fn define(&mut self, kind: &str, name: String, next: Option<&TokenTree>) {
        match kind {
            "mod" => {
                assert!(is_sign(next, ';'), "{}: `mod {name}` needs a file of its own", self.file);
                self.children.insert(name);
            }
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" => {
                self.items.insert(name);
            }
            _ => {}
        }
    }

    /// Takes a path that may start here, and returns how many tokens it was.
    fn path(&mut self, code: &[TokenTree]) -> usize {
        let mut names = Vec::new();
        let mut at = 0;
        while let Some(TokenTree::Ident(name)) = code.get(at) {
            names.push(name.to_string());
            if !(is_sign(code.get(at + 1), ':') && is_sign(code.get(at + 2), ':')) {
                break;
            }
            at += 3;
        }
        if names.len() > 1 {
            self.paths.push(names);
        }
        at.max(1)
    }

    /// Takes the `use` at this place, and returns how many tokens it is.
    fn import(&mut self, code: &[TokenTree], at: usize) -> usize {
        let tree: Vec<TokenTree> =
            code[at + 1..].iter().take_while(|token| !is_sign(Some(token), ';')).cloned().collect();
        let is_exported = match code[..at].last() {
            Some(TokenTree::Ident(word)) => word == "pub",
            Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Parenthesis,
            _ => false,
        };
        self.imports_of(&tree, &[], is_exported);
        tree.len() + 2
    }

    fn imports_of(&mut self, tree: &[TokenTree], before: &[String], is_exported: bool) {
        // After the last comma of a list comes nothing.
        for branch in tree.split(|token| is_sign(Some(token), ',')).filter(|branch| !branch.is_empty()) {
            let mut names = before.to_vec();
            let mut renamed = None;
            for (at, token) in branch.iter().enumerate() {
                match token {
                    TokenTree::Ident(word) if word == "as" => {
                        renamed = branch.get(at + 1).map(ToString::to_string);
                        break;
                    }
                    TokenTree::Ident(word) if word == "self" && !names.is_empty() => {}
                    TokenTree::Ident(word) => names.push(word.to_string()),
                    TokenTree::Group(group) => {
                        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                        self.imports_of(&inner, &names, is_exported);
                        names.clear();
                    }
                    TokenTree::Punct(sign) if sign.as_char() == '*' => {
                        self.globs.push(std::mem::take(&mut names));
                    }
                    _ => {}
                }
            }
            if let Some(name) = renamed.or_else(|| names.last().cloned()) {
                if is_exported {
                    self.exported.insert(name.clone());
                }
                self.imports.insert(name, names);
            }
        }
    }
}

fn is_sign(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Returns how many tokens an attribute is; with what it stands before, where that is for tests only.
fn attribute(code: &[TokenTree]) -> usize {
    let start = if is_sign(code.get(1), '!') { 2 } else { 1 };
    let Some(TokenTree::Group(inner)) = code.get(start) else { return 1 };
    let inner: String = inner.stream().to_string().split_whitespace().collect();
    if !(inner == "cfg(test)" || inner.starts_with("cfg(all(test,")) {
        return start + 1;
    }
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_sign(Some(token), ';'),
    };
    code.iter().position(is_end).map_or(code.len(), |end| end + 1)
}

/// What a path leads to.
enum Target {
    Module,
    /// Something that is defined in this file.
    In(String),
}

/// All files of the library, by their path from the crate.
struct Library(BTreeMap<Names, Module>);

/// Read once: it is fifty thousand lines.
static LIBRARY: LazyLock<Library> = LazyLock::new(Library::read);

impl Library {
    fn read() -> Self {
        let mut all = BTreeMap::new();
        read_module(&mut all, Vec::new(), "lib.rs");
        Self(all)
    }

    /// Goes where a path in a module leads; `None` where that is another crate or a name of the language.
    fn follow(&self, from: &[String], path: &[String]) -> Option<Target> {
        let mut rest = path;
        let mut here = from.to_vec();
        match rest.first()?.as_str() {
            "crate" => here.clear(),
            "super" => drop(here.pop()),
            "self" => {}
            name => {
                let module = self.0.get(&here)?;
                let is_known = module.children.contains(name)
                    || module.items.contains(name)
                    || module.imports.contains_key(name);
                return if is_known { self.find(&here, path) } else { None };
            }
        }
        rest = &rest[1..];
        while rest.first().is_some_and(|name| name == "super") {
            here.pop();
            rest = &rest[1..];
        }
        self.find(&here, rest)
    }

    fn find(&self, here: &[String], path: &[String]) -> Option<Target> {
        let Some((name, rest)) = path.split_first() else { return Some(Target::Module) };
        let module = self.0.get(here)?;
        if module.children.contains(name) {
            return self.find(&[here, std::slice::from_ref(name)].concat(), rest);
        }
        if module.items.contains(name) {
            return Some(Target::In(module.file.clone()));
        }
        if let Some(imported) = module.imports.get(name) {
            return self.follow(here, &[imported, rest].concat());
        }
        let by_glob = module.globs.iter().find_map(|glob| self.follow(here, &[glob, path].concat()));
        by_glob.or_else(|| Some(Target::In(module.file.clone())))
    }

    /// Returns which rooms each room uses, with the files that do.
    fn arrows(&self) -> BTreeMap<(String, String), BTreeSet<String>> {
        let mut arrows: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (place, module) in &self.0 {
            let Some(room) = place.first() else { continue };
            let all = module.imports.values().chain(&module.globs).chain(&module.paths);
            for used in all.filter_map(|path| room_of(place, path)).filter(|used| used != room) {
                arrows.entry((room.clone(), used)).or_default().insert(module.file.clone());
            }
        }
        arrows
    }

    /// Returns which files of its room each file uses.
    fn uses_in_rooms(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut uses = BTreeMap::new();
        for (place, module) in self.0.iter().filter(|(place, _)| !place.is_empty()) {
            let is_used = |name: &&String| !module.exported.contains(*name) || module.names.contains(*name);
            let imported = module.imports.iter().filter(|(name, _)| is_used(name)).map(|(_, path)| path);
            let all = imported.chain(&module.paths);
            let files = all.filter_map(|path| match self.follow(place, path)? {
                Target::In(file) if file != module.file && room_of_file(&file) == place[0] => Some(file),
                Target::In(_) | Target::Module => None,
            });
            uses.insert(module.file.as_str(), files.collect());
        }
        uses
    }

    /// Returns the sets of files that lead back to themselves.
    fn circles(&self) -> BTreeSet<BTreeSet<String>> {
        let uses = self.uses_in_rooms();
        let all: BTreeMap<&str, BTreeSet<&str>> =
            uses.keys().map(|file| (*file, reached(&uses, file))).collect();
        let circle = |file: &&str| {
            let round = all[*file].iter().filter(|other| all[**other].contains(*file));
            round.map(|file| (*file).to_owned()).collect::<BTreeSet<String>>()
        };
        all.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
    }
}

/// Returns the files to which a file leads, by way of others too.
fn reached<'u>(uses: &'u BTreeMap<&str, BTreeSet<String>>, from: &str) -> BTreeSet<&'u str> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = uses[from].iter().map(String::as_str).collect();
    while let Some(file) = next.pop() {
        if seen.insert(file) {
            next.extend(uses[file].iter().map(String::as_str));
        }
    }
    seen
}

fn read_module(all: &mut BTreeMap<Names, Module>, place: Names, file: &str) {
    let source = root().join("shared/src");
    let text = fs::read_to_string(source.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let code: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut module = Module { file: file.to_owned(), ..Module::default() };
    module.read(code, true);
    let folder = if ["lib.rs", "mod.rs"].iter().any(|name| file.ends_with(name)) {
        file.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"))
    } else {
        format!("{}/", file.trim_end_matches(".rs"))
    };
    for child in &module.children {
        let flat = format!("{folder}{child}.rs");
        let file = if source.join(&flat).exists() { flat } else { format!("{folder}{child}/mod.rs") };
        read_module(all, [place.as_slice(), std::slice::from_ref(child)].concat(), &file);
    }
    all.insert(place, module);
}

/// Returns the room that a path leads to by its own words.
fn room_of(place: &[String], path: &[String]) -> Option<String> {
    let climbs = path.iter().take_while(|name| *name == "super").count();
    if path.first()? == "crate" {
        path.get(1).cloned()
    } else if climbs > 0 && climbs == place.len() {
        path.get(climbs).cloned()
    } else {
        None
    }
}

fn room_of_file(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Returns the rows of the table below a heading, each as its cells.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, below) =
        PAGE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading} is missing"));
    let rows =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Returns what stands in backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn rooms_use_those_rooms_that_the_page_allows() {
    let rows = table("## Rooms");
    let rooms: Vec<&str> = rows.iter().map(|row| quoted(row[0])[0]).collect();
    let library = &*LIBRARY;
    let found: BTreeSet<&str> = library.0[&Vec::new()].children.iter().map(String::as_str).collect();
    assert_eq!(
        rooms.iter().copied().collect::<BTreeSet<_>>(),
        found,
        "the rooms of the page are those of lib.rs"
    );
    let mut wrong = Vec::new();
    let mut allowed = BTreeSet::new();
    for (level, row) in rows.iter().enumerate() {
        for used in quoted(row[2]) {
            if !rooms[level + 1..].contains(&used) {
                wrong.push(format!("the page lets `{}` use `{used}`, which is not below it", rooms[level]));
            }
            allowed.insert((rooms[level].to_owned(), used.to_owned()));
        }
    }
    let arrows = library.arrows();
    for ((from, to), files) in &arrows {
        if !allowed.contains(&(from.clone(), to.clone())) {
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            wrong.push(format!("`{from}` uses `{to}`, which the page does not allow: {}", files.join(", ")));
        }
    }
    for (from, to) in allowed.iter().filter(|arrow| !arrows.contains_key(*arrow)) {
        wrong.push(format!("the page lets `{from}` use `{to}`, and it does not; take it out"));
    }
    assert!(wrong.is_empty(), "docs/architecture.md and the code differ:\n{}", wrong.join("\n"));
}

#[test]
fn files_of_a_room_go_round_in_no_other_circles_than_those_of_the_page() {
    let rows = table("### Circles");
    let named: BTreeSet<BTreeSet<String>> =
        rows.iter().map(|row| quoted(row[0]).into_iter().map(str::to_owned).collect()).collect();
    let (found, uses) = (LIBRARY.circles(), LIBRARY.uses_in_rooms());
    let mut wrong = Vec::new();
    for circle in found.difference(&named) {
        wrong.push("a circle that the page does not name:".to_owned());
        for file in circle {
            let next = uses[file.as_str()].intersection(circle).map(String::as_str).collect::<Vec<_>>();
            wrong.push(format!("  {file} → {}", next.join(", ")));
        }
    }
    wrong.extend(
        named.difference(&found).map(|circle| format!("the page names a circle that is none: {circle:?}")),
    );
    assert!(wrong.is_empty(), "docs/architecture.md and the code differ:\n{}", wrong.join("\n"));
    for row in rows {
        assert!(!row[1].is_empty(), "a circle has a reason: {}", row[0]);
    }
}

#[test]
fn files_and_functions_that_the_page_names_exist() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for heading in PAGE.lines().filter(|line| line.starts_with("### `kubectl ")) {
        for row in table(heading) {
            let file = quoted(row[0])[0];
            let code = fs::read_to_string(root().join(file)).unwrap_or_default();
            for name in quoted(row[1]) {
                count += 1;
                if !code.contains(&format!("fn {name}(")) && !code.contains(&format!("fn {name}<")) {
                    wrong.push(format!("{heading}: {file} has no fn {name}"));
                }
            }
        }
    }
    assert!(count > 30, "the walks are found");
    let is_file = |text: &&str| {
        text.contains('/') && text.chars().all(|sign| sign.is_ascii_alphanumeric() || "/._-".contains(sign))
    };
    for file in PAGE.lines().flat_map(quoted).filter(is_file) {
        if !root().join(file).exists() && !root().join("shared/src").join(file).exists() {
            wrong.push(format!("there is no {file}"));
        }
    }
    assert!(wrong.is_empty(), "docs/architecture.md speaks of what there is not:\n{}", wrong.join("\n"));
}
