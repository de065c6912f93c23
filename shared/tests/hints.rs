//! A command that is printed is put together by `hint::Command`, and is not written out in a text: only then does it name the cluster that
//! it is about, and the files that were given.
//!
//! What the texts are is read from the code's tokens. Left out are documentation and help (attributes, and the `cli` files of the plugins),
//! tests, and the builder itself.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// What may follow `kubectl` in a sentence: it is the program that does it.
const PROSE: [&str; 5] = ["complete", "does", "looks", "own", "prints"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of code that may print something.
fn files() -> Vec<PathBuf> {
    let mut folders = vec![root().join("shared/src")];
    let plugins = fs::read_dir(root().join("plugins")).unwrap();
    folders.extend(plugins.map(|plugin| plugin.unwrap().path().join("src")));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_builder = path.ends_with("hint/command.rs");
            let is_help =
                path.starts_with(root().join("plugins")) && matches!(name.as_str(), "cli" | "cli.rs");
            let is_test = matches!(name.as_str(), "tests" | "tests.rs");
            match path {
                _ if is_builder || is_help || is_test => {}
                path if path.is_dir() => folders.push(path),
                path if name.ends_with(".rs") => files.push(path),
                _ => {}
            }
        }
    }
    files
}

/// Finds the texts in code that is no test and no attribute.
fn texts(code: TokenStream, found: &mut Vec<String>) {
    let code: Vec<TokenTree> = code.into_iter().collect();
    let mut at = 0;
    while let Some(token) = code.get(at) {
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                // `#[…]` or `#![…]`.
                let behind = if is_sign(code.get(at + 1), '!') { at + 2 } else { at + 1 };
                let attribute = code.get(behind).map(ToString::to_string).unwrap_or_default();
                at = behind + 1;
                if attribute.replace(' ', "") == "[cfg(test)]" {
                    at += code[at..].iter().take_while(|token| !ends_item(token)).count() + 1;
                } else if attribute.contains("error") {
                    // What an error says is printed.
                    literals(&attribute, found);
                }
                continue;
            }
            TokenTree::Group(group) => texts(group.stream(), found),
            TokenTree::Literal(literal) => found.push(literal.to_string()),
            _ => {}
        }
        at += 1;
    }
}

fn literals(attribute: &str, found: &mut Vec<String>) {
    for token in attribute.parse::<TokenStream>().unwrap() {
        match token {
            TokenTree::Group(group) => literals(&group.stream().to_string(), found),
            TokenTree::Literal(literal) => found.push(literal.to_string()),
            _ => {}
        }
    }
}

fn is_sign(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Tells whether an item ends here: with its body, or with a semicolon.
fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == proc_macro2::Delimiter::Brace,
        token => is_sign(Some(token), ';'),
    }
}

/// Returns the command that a text has in it: `kubectl` or `istioctl` with a flag, a verb, a plugin or a place for one behind it, or the
/// context of a command by itself.
fn command_in(text: &str) -> Option<String> {
    let shown = |from: &str| from.chars().take(60).collect::<String>();
    for program in ["kubectl ", "istioctl "] {
        for (at, _) in text.match_indices(program) {
            let behind = &text[at + program.len()..];
            let next: String = behind.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            if !PROSE.contains(&next.as_str())
                && behind.starts_with(|c: char| !c.is_ascii_punctuation() || "-{\"".contains(c))
            {
                return Some(shown(&text[at..]));
            }
        }
    }
    text.find("--context {").map(|at| shown(&text[at..]))
}

#[test]
fn no_command_is_written_out_in_a_text() {
    let mut commands = Vec::new();
    for file in files() {
        let code = fs::read_to_string(&file).unwrap().parse().unwrap();
        let mut found = Vec::new();
        texts(code, &mut found);
        let file = file.strip_prefix(root()).unwrap().display().to_string();
        let written = found.iter().filter_map(|text| command_in(text));
        commands.extend(written.map(|command| format!("{file}: {command}")));
    }
    commands.sort();
    assert!(commands.is_empty(), "make these with hint::Command:\n{}", commands.join("\n"));
}

#[test]
fn a_command_is_told_from_a_sentence() {
    let commands = [
        r#""see why: kubectl -n {namespace} logs {pod}""#,
        r#""kubectl get storageclass""#,
        r#""kubectl {words}""#,
        r#""run `kubectl spire-federate` first""#,
        r#""kubectl ""#,
        r#""{program} --context {context}""#,
        r#""istioctl uninstall --purge""#,
    ];
    let told: Vec<&str> = commands.into_iter().filter(|text| command_in(text).is_none()).collect();
    assert!(told.is_empty(), "taken for sentences: {told:?}");
    let sentences =
        [r#""not on the PATH, where kubectl looks for it""#, r#""kubectl""#, r#""by way of kubectl""#];
    assert!(sentences.iter().all(|text| command_in(text).is_none()));
}

#[test]
fn what_is_printed_is_looked_at_and_tests_and_help_are_not() {
    let code = r#"
        #[cfg(test)]
        mod tests { const A: &str = "a test"; }
        #[cfg(test)]
        use a::b;
        /// documentation
        #[command(about = "help")]
        #[error("an error")]
        fn f() { g(&[h!("a text")]); }
    "#;
    let mut found = Vec::new();
    texts(code.parse().unwrap(), &mut found);
    assert_eq!(found, [r#""an error""#, r#""a text""#]);
}
