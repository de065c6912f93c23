//! Text from elsewhere, made harmless for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Replaces what a terminal would act on instead of showing: control characters, line breaks among them, and the
/// Unicode characters that reorder or hide text.
///
/// Nothing that comes from a file, a cluster or a program reaches the terminal by another way.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if needs_escape(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Joins the lines of a text with spaces and escapes it: for places that have one line only.
#[must_use]
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    escape(&lines.join(" ")).into_owned()
}

/// Cuts a text off after `most` characters, and shows that it did: what a message repeats may be of any length.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Escapes line by line and indents every line but the first, so that foreign text cannot look like a message of ours.
pub(crate) fn indented(text: &str, indent: &str) -> String {
    let lines: Vec<_> = text.lines().map(escape).collect();
    lines.join(&format!("\n{indent}"))
}

/// Tells whether a terminal could take something in these lines for a command, or turn the direction of writing.
pub(crate) fn is_harmless(lines: &str) -> bool {
    !lines.contains(|character| needs_escape(character) && character != '\n')
}

/// Makes YAML of JSON, with the same escaped as by [`json`]: JSON is YAML, except for its pairs of escapes for one character.
pub(crate) fn yaml(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if needs_escape(character) && character != '\n' {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\U{:08x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Escapes in JSON what a terminal could take for a command, or what would turn the direction of writing: JSON itself asks only for the
/// characters below U+0020. It can stand in strings only, so that the text means the same to every reader of JSON.
pub(crate) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if needs_escape(character) && character != '\n' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_any_script_is_left_alone() {
        for text in ["", "foo.com is ready", "größer ≤ 3 s · 東京 🙂", r"C:\path"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_a_terminal_acts_on_is_shown_instead() {
        insta::assert_snapshot!(escape("\u{1b}[31mred\u{1b}[0m"), @r"\u{1b}[31mred\u{1b}[0m");
        insta::assert_snapshot!(escape("a\rb\nc\td\u{7}\u{7f}"), @r"a\rb\nc\td\u{7}\u{7f}");
        insta::assert_snapshot!(escape("\u{9b}2J"), @r"\u{9b}2J");
        insta::assert_snapshot!(escape("a\u{202e}moc.oof\u{2066}\u{200b}"), @r"a\u{202e}moc.oof\u{2066}\u{200b}");
    }

    #[test]
    fn escaping_twice_changes_nothing() {
        let once = escape("\u{1b}]0;title\u{7}").into_owned();
        assert_eq!(escape(&once), once);
    }

    #[test]
    fn what_is_too_long_is_cut_off_between_characters() {
        assert_eq!(cut("größer".to_owned(), 6), "größer");
        assert_eq!(cut("größer".to_owned(), 3), "grö…");
    }

    #[test]
    fn json_holds_nothing_that_a_terminal_acts_on_and_means_the_same() {
        let value = serde_json::json!({
            "c1": "a\u{9b}31m", "del": "\u{7f}", "bidi": "\u{202e}gpj.exe", "tag": "\u{e0041}", "own": "é 😀 \n\t\\",
        });
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(is_harmless(&text) && !is_harmless(&value.to_string()), "{text:?}");
        assert!(text.contains("é 😀"), "{text}");
        assert!(text.contains(r"\u009b31m") && text.contains(r"\udb40\udc41"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        let text = yaml(&serde_json::to_string_pretty(&value).unwrap());
        assert!(is_harmless(&text) && text.contains(r"\U000e0041"), "{text}");
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn one_line_joins_lines() {
        insta::assert_snapshot!(one_line("first\n   second\u{1b}\n\n"), @r"first second\u{1b}");
    }
}
