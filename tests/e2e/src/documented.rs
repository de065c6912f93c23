//! The commands of help texts and documentation, as their readers copy them.

use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

/// A command that somebody is told to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documented {
    /// The page, or the command whose help it is.
    pub place: String,
    /// The plugin: `spire-federate`.
    pub plugin: String,
    /// What follows it.
    pub words: Vec<String>,
    /// What it prints there, where that is shown.
    pub output: Option<String>,
}

impl Documented {
    /// Reads a line like `$ kubectl trustchain sleep   # why`; `None` where it is no command of these plugins.
    fn of_line(place: &str, line: &str, plugins: &[&str]) -> Option<Self> {
        let line = line.trim().trim_start_matches("$ ");
        let line = line.split(" #").next().unwrap_or(line);
        let mut words = line.split_whitespace().map(|word| word.trim_matches('\''));
        if words.next() != Some("kubectl") {
            return None;
        }
        let plugin = words.next().filter(|plugin| plugins.contains(plugin))?.to_owned();
        Some(Self {
            place: place.to_owned(),
            plugin,
            words: words.map(str::to_owned).collect(),
            output: None,
        })
    }
}

/// Finds the commands of plugins in the examples of a help text.
#[must_use]
pub fn in_help(place: &str, text: &str, plugins: &[&str]) -> Vec<Documented> {
    text.lines().filter_map(|line| Documented::of_line(place, line, plugins)).collect()
}

/// Finds the commands of plugins in the README and in the pages of `docs`.
///
/// # Panics
/// When they cannot be read.
#[must_use]
pub fn in_pages(plugins: &[&str]) -> Vec<Documented> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = fs::read_dir(root.join("docs")).expect("documentation");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("a file").path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(root.join("README.md"));
    pages.sort();
    let of_page = |page: &PathBuf| {
        let text = fs::read_to_string(page).expect("a page");
        let name = page.strip_prefix(&root).expect("a page of this checkout").display().to_string();
        in_page(&name, &text, plugins)
    };
    pages.iter().flat_map(of_page).collect()
}

/// Finds the commands in the code of a page. What follows one in a `console` is what it prints.
fn in_page(name: &str, text: &str, plugins: &[&str]) -> Vec<Documented> {
    let mut found: Vec<Documented> = Vec::new();
    let (mut is_code, mut is_console, mut is_shown) = (false, false, false);
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_code = !is_code;
            is_console = is_code && language == "console";
            is_shown = false;
        } else if is_console && !line.starts_with("$ ") {
            let Some(last) = found.last_mut().filter(|_| is_shown) else { continue };
            let output = last.output.get_or_insert_default();
            output.push_str(line);
            output.push('\n');
        } else if is_code {
            let command = Documented::of_line(name, line, plugins);
            is_shown = is_console && command.is_some();
            found.extend(command);
        }
    }
    found
}

/// Writes output without what is another each time: times, durations, shares, addresses, names of pods, numbers of more than one digit,
/// the width of columns.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the patterns are constant")]
pub fn without_accidents(output: &str) -> String {
    let accidents = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS"),
        (r"\b\d+\.\d+\.\d+\b", "VERSION"),
        (r"-[0-9a-f]{6,10}-[0-9a-z]{5}\b", "-POD"),
        (r"\b[0-9a-f]{16,}\b", "DIGEST"),
        (r"\b\d+(\.\d+)?(ms|s|m|h|d)\b( \d+(ms|s|m|h|d)\b)*", "DURATION"),
        (r"\b\d+(\.\d+)?%", "SHARE"),
        (r"[·▁▂▃▄▅▆▇█]+", "TIMES"),
        (r"\b\d{2,}\b", "NUMBER"),
        (r"[ \t]+", " "),
    ];
    let masked = accidents.iter().fold(output.to_owned(), |text, (pattern, word)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *word).into_owned()
    });
    masked.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_with_what_they_print() {
        let page = "kubectl trustchain is a name.\n\n```sh\nkubectl get pods\nkubectl trustchain a  # why\n```\n\n```console\n\
                    $ kubectl trustchain b --expect 'x=1%'\nA B\n\n1 2\n$ kubectl get pods\nnone\n```\nend\n";
        let found = in_page("page", page, &["trustchain"]);
        let words: Vec<&[String]> = found.iter().map(|one| one.words.as_slice()).collect();
        assert_eq!(words, [vec!["a".to_owned()], vec!["b".into(), "--expect".into(), "x=1%".into()]]);
        assert_eq!((found[0].output.as_deref(), found[1].output.as_deref()), (None, Some("A B\n\n1 2\n")));
    }

    #[test]
    fn what_is_another_each_time_is_left_out_and_nothing_else() {
        let masked = |text: &str| without_accidents(text);
        assert_eq!(
            masked(
                "a-5d44bb5655-vsshp   10.2.0.129:15443  4/4\n\n  2026-11-25T18:47:54Z 4m 104 12 1.2ms 50.0% ·▃█"
            ),
            "a-POD ADDRESS:NUMBER 4/4\nTIME DURATION NUMBER NUMBER DURATION SHARE TIMES"
        );
        assert_eq!(masked("helloworld-v2 0 of 1, v1"), "helloworld-v2 0 of 1, v1");
    }
}
