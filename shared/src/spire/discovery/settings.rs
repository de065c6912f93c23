//! Reads single values from a configuration file of SPIRE, which is HCL or JSON (HCL accepts both).
//!
//! Not a full parser of HCL: of expressions it knows strings, numbers and words, which is all that is looked for. What it does
//! not know it skips.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The most tokens that are read of a file; far more than any real configuration has.
const MOST_TOKENS: usize = 200_000;
/// The deepest nesting that is followed, labels included.
const DEEPEST: usize = 64;

/// The values of a configuration file of SPIRE by their path. Asked for as `server.trust_domain`; a name in the file may hold dots
/// itself.
///
/// A tree, not a list of whole paths: it is never larger than its text, however long the names are that much stands below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Empty for a block.
    value: Option<String>,
    inside: BTreeMap<String, Settings>,
}

impl Settings {
    /// Reads a file. Never fails: what cannot be read is not there.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        match serde_json::from_str(text) {
            Ok(value) => settings.take(value, 0),
            Err(_) => settings.scan(&mut tokens(text).into_iter().peekable(), 0),
        }
        settings
    }

    /// Returns the value at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        self.at(path)?.value.as_deref()
    }

    /// Tells whether there is a block or value at a path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.at(path).is_some_and(Self::is_there)
    }

    /// Returns the names of what is in the block at a path.
    #[must_use]
    pub fn names(&self, path: &str) -> BTreeSet<&str> {
        let inside = self.at(path).into_iter().flat_map(|block| &block.inside);
        inside.filter(|(_, inner)| inner.is_there()).map(|(name, _)| name.as_str()).collect()
    }

    fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |block, name| block.inside.get(name))
    }

    fn is_there(&self) -> bool {
        self.value.is_some() || self.inside.values().any(Self::is_there)
    }

    /// Takes over what JSON says.
    fn take(&mut self, value: Value, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        match value {
            Value::Object(map) => {
                // An empty block is there too: `https_spiffe {}`.
                self.value = Some(String::new());
                for (name, value) in map {
                    self.inside.entry(name).or_default().take(value, depth + 1);
                }
            }
            Value::Array(items) => items.into_iter().for_each(|item| self.take(item, depth)),
            Value::String(text) => self.value = Some(text),
            Value::Number(number) => self.value = Some(number.to_string()),
            Value::Bool(flag) => self.value = Some(flag.to_string()),
            Value::Null => {}
        }
    }

    /// Follows blocks (`server {`, `federates_with "bar.com" {`, `sds = {`) and takes values (`trust_domain = "foo.com"`), to the end
    /// of this block.
    fn scan(&mut self, tokens: &mut Tokens, depth: usize) {
        let mut words = Vec::new();
        while let Some(token) = tokens.next() {
            match token {
                Token::Word(word) => words.push(word),
                Token::Equals => {
                    if let Some(Token::Word(value)) = tokens.next_if(|next| matches!(next, Token::Word(_)))
                        && let Some(setting) = self.below(&mut words, depth)
                    {
                        setting.value = Some(value);
                    }
                }
                Token::Open => {
                    let deeper = depth + words.len().max(1);
                    let Some(block) = self.below(&mut words, depth).filter(|_| deeper <= DEEPEST) else {
                        // No configuration is like this, so the rest of it is not worth a look.
                        return tokens.for_each(drop);
                    };
                    block.value = Some(String::new());
                    block.scan(tokens, deeper);
                }
                Token::Close if depth > 0 => return,
                Token::Close | Token::Other => words.clear(),
            }
        }
    }

    /// Returns what these names lead to; `None` where it would be too deep. The names are gone afterwards.
    fn below(&mut self, names: &mut Vec<String>, depth: usize) -> Option<&mut Self> {
        let names = std::mem::take(names);
        if depth + names.len() > DEEPEST {
            return None;
        }
        Some(names.into_iter().fold(self, |block, name| block.inside.entry(name).or_default()))
    }
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    Equals,
    Other,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if found.len() >= MOST_TOKENS {
            break;
        }
        let token = match c {
            '#' => {
                skip_line(&mut chars);
                continue;
            }
            '/' if chars.peek() == Some(&'/') => {
                skip_line(&mut chars);
                continue;
            }
            '/' if chars.peek() == Some(&'*') => {
                skip_comment(&mut chars);
                continue;
            }
            '"' => Token::Word(quoted(&mut chars)),
            '{' => Token::Open,
            '}' => Token::Close,
            '=' => Token::Equals,
            c if c.is_whitespace() => continue,
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|next| is_word(*next)) {
                    word.push(next);
                }
                Token::Word(word)
            }
            _ => Token::Other,
        };
        found.push(token);
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn skip_line(chars: &mut impl Iterator<Item = char>) {
    for c in chars {
        if c == '\n' {
            return;
        }
    }
}

fn skip_comment(chars: &mut impl Iterator<Item = char>) {
    let mut star = false;
    // The star that opened the comment does not end it.
    for c in chars.skip(1) {
        if star && c == '/' {
            return;
        }
        star = c == '*';
    }
}

fn quoted(chars: &mut impl Iterator<Item = char>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HCL: &str = r#"
        # a comment with "quotes" and {
        server {
          bind_port = "8081" // here too {
          socket_path = "/run/spire/sockets/server.sock"
          /* trust_domain = "not.this" */
          trust_domain = "foo.com"
          ca_subject = { country = ["US"], organization = ["SPIFFE"], common_name = "" }
          federation {
            bundle_endpoint {
              address = "0.0.0.0"
              port = 8443
              profile "https_spiffe" {}
            }
            federates_with "bar.com" {
              bundle_endpoint_url = "https://bar.example:8443"
              bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "spiffe://bar.com/spire/server" }
            }
          }
        }
        plugins { DataStore "sql" { plugin_data { database_type = "sqlite3", trust_domain = "no" } } }
    "#;

    #[test]
    fn hcl_is_read() {
        let settings = Settings::parse(HCL);
        assert_eq!(settings.get("server.trust_domain"), Some("foo.com"));
        assert_eq!(settings.get("server.socket_path"), Some("/run/spire/sockets/server.sock"));
        assert_eq!(settings.get("server.federation.bundle_endpoint.port"), Some("8443"));
        assert!(settings.has("server.federation.bundle_endpoint.profile.https_spiffe"));
        assert!(settings.has("server.federation.federates_with"));
        assert!(!settings.has("server.federation.bundle_endpoint.profile.https_web"));
        assert_eq!(Vec::from_iter(settings.names("server.federation.federates_with")), ["bar.com"]);
        assert_eq!(settings.get("plugins.DataStore.sql.plugin_data.database_type"), Some("sqlite3"));
    }

    #[test]
    fn json_is_read() {
        let settings = Settings::parse(
            r#"{"server":{"trust_domain":"foo.com","none":null,"federation":{"bundle_endpoint":{"port":8443,"profile":[{"https_spiffe":{}}]}}}}"#,
        );
        assert_eq!(settings.get("server.trust_domain"), Some("foo.com"));
        assert_eq!(settings.get("server.federation.bundle_endpoint.port"), Some("8443"));
        assert!(settings.has("server.federation.bundle_endpoint.profile.https_spiffe"));
        assert!(!settings.has("server.none") && !settings.names("server").contains("none"));
    }

    #[test]
    fn names_in_a_block_are_read_however_it_is_written() {
        let names = |text: &str| {
            let settings = Settings::parse(text);
            settings.names("server.federates_with").into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let both = ["a.com", "b.com"];
        assert_eq!(
            names(r#"server { federates_with "b.com" { url = "x" } federates_with "a.com" {} }"#),
            both
        );
        assert_eq!(names(r#"server { federates_with = { "a.com" = { url = "x" } "b.com" {} } }"#), both);
        assert_eq!(names(r#"{"server": {"federates_with": {"b.com": {"url": "x"}, "a.com": {}}}}"#), both);
        assert_eq!(names(r#"{"server": {"federates_with": [{"b.com": {}}, {"a.com": [{}]}]}}"#), both);
        assert_eq!(
            names(r#"{"server": {"federates_with": {}, "federates_with_none": {"c.com": {}}}}"#),
            [""; 0]
        );
    }

    #[test]
    fn a_long_name_is_held_once_however_much_stands_below() {
        let name = "n".repeat(100_000);
        let json: Vec<String> = (0..10_000).map(|index| format!(r#""k{index}": 1"#)).collect();
        let hcl: Vec<String> = (0..10_000).map(|index| format!("k{index} = 1")).collect();
        // A copy of the name for each value would be a gigabyte.
        for text in
            [format!(r#"{{"{name}": {{{}}}}}"#, json.join(",")), format!("{name} {{ {} }}", hcl.join(" "))]
        {
            let settings = Settings::parse(&text);
            assert_eq!(settings.get(&format!("{name}.k9999")), Some("1"));
            assert!(format!("{settings:?}").len() < 10 * text.len());
        }
    }

    #[test]
    fn what_is_too_deep_is_left_out() {
        let deep = |depth: usize| format!("{} trust_domain = \"foo.com\"", "a {".repeat(depth));
        let at = |depth: usize| format!("{}trust_domain", "a.".repeat(depth));
        assert_eq!(Settings::parse(&deep(63)).get(&at(63)), Some("foo.com"));
        assert_eq!(Settings::parse(&deep(65)).get(&at(65)), None);
        let labels = format!("{} {{ b = c }} trust_domain = d", "a ".repeat(100_000));
        assert_eq!(Settings::parse(&labels), Settings::default());
    }

    #[test]
    fn what_is_neither_gives_nothing_and_does_not_panic() {
        for text in ["", "{", "}}}", "\"", "a = ", "= =", "/*", "[1,2", "server { trust_domain", "\\"] {
            assert_eq!(Settings::parse(text).get("server.trust_domain"), None, "{text}");
        }
    }
}
