//! A command that is printed is put together by `hint::Command`, and is not written out in a text: only then does it name the cluster that
//! it is about, and the files that were given.
//!
//! What the texts are is read from the code's tokens. Left out are documentation and help (attributes, and the `cli` files of the plugins),
//! tests, and the builder itself.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// What may follow `kubectl` in a sentence: it is the program that does it.
const PROSE: [&str; 4] = ["complete", "does", "looks", "prints"];

/// What of istioctl asks a cluster.
const ISTIOCTL: [&str; 6] =
    ["analyze", "install", "proxy-config", "proxy-status", "uninstall", "ztunnel-config"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of code that may print something.
fn files() -> Vec<PathBuf> {
    let plugins = root().join("plugins");
    let mut folders = vec![root().join("shared/src")];
    folders.extend(inside(&plugins).into_iter().map(|plugin| plugin.join("src")));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in inside(&folder) {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let is_help = name == "cli" && path.starts_with(&plugins);
            let is_left_out = path.ends_with("hint/command.rs") || is_help || name == "tests";
            if path.is_dir() && !is_left_out {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_left_out {
                files.push(path);
            }
        }
    }
    files
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
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
                if is_of_tests(&attribute) {
                    at += code[at..].iter().take_while(|token| !ends_item(token)).count() + 1;
                } else if attribute.contains("error") {
                    // What an error says is printed.
                    literals(code[behind..=behind].iter().cloned().collect(), found);
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

/// Tells whether what an attribute stands before is there for tests only: `#[cfg(test)]`, `#[cfg(all(test, unix))]`.
fn is_of_tests(attribute: &str) -> bool {
    let words: Vec<&str> =
        attribute.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not")
}

fn literals(attribute: TokenStream, found: &mut Vec<String>) {
    for token in attribute {
        match token {
            TokenTree::Group(group) => literals(group.stream(), found),
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

/// Returns the command that a text has in it: `kubectl` with anything behind it that is no prose, `istioctl` with a flag or one of its
/// verbs that ask a cluster, or the context of a command by itself.
fn command_in(text: &str) -> Option<String> {
    let shown = |from: &str| from.chars().take(60).collect::<String>();
    let is_command = |program: &str, behind: &str| {
        let next: String = behind.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let is_word = match program {
            "kubectl " => !next.is_empty() && !PROSE.contains(&next.as_str()),
            _ => ISTIOCTL.contains(&next.as_str()),
        };
        is_word || behind.starts_with(['-', '{', '"'])
    };
    for program in ["kubectl ", "istioctl "] {
        let mut found = text.match_indices(program);
        if let Some((at, _)) = found.find(|(at, _)| is_command(program, &text[at + program.len()..])) {
            return Some(shown(&text[at..]));
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
        r#""istioctl --context foo version""#,
    ];
    let told: Vec<&str> = commands.into_iter().filter(|text| command_in(text).is_none()).collect();
    assert!(told.is_empty(), "taken for sentences: {told:?}");
    let sentences =
        [r#""not on the PATH, where kubectl looks for it""#, r#""kubectl""#, r#""an istioctl of 1.31""#];
    assert!(sentences.iter().all(|text| command_in(text).is_none()));
}

#[test]
fn what_is_printed_is_looked_at_and_tests_and_help_are_not() {
    let code = r#"
        #[cfg(test)]
        mod tests { const A: &str = "a test"; }
        #[cfg(all(test, unix))]
        use a::b;
        #[cfg(not(test))]
        const B: &str = "no test";
        /// documentation
        #[command(about = "help")]
        #[error("an error")]
        fn f() { g(&[h!("a text")]); }
    "#;
    let mut found = Vec::new();
    texts(code.parse().unwrap(), &mut found);
    assert_eq!(found, [r#""no test""#, r#""an error""#, r#""a text""#]);
}
