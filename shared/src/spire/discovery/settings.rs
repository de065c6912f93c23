//! Reads single values from a configuration file of SPIRE, which is HCL or JSON (HCL accepts both).
//!
//! Not a full parser of HCL: of expressions it knows strings, numbers and words, which is all that is looked for. What it does
//! not know it skips.

use std::collections::{BTreeMap, BTreeSet};

/// The most tokens that are read of a file; far more than any real configuration has.
const MOST_TOKENS: usize = 200_000;
/// The deepest nesting that is followed.
const DEEPEST: usize = 64;

/// The values of a file by their path. Asked for as `server.trust_domain`; a name in the file may hold dots itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<Path, String>);

type Path = Vec<String>;

impl Settings {
    /// Reads a file. Never fails: what cannot be read is not there.
    pub(super) fn parse(text: &str) -> Self {
        let mut values = BTreeMap::new();
        match serde_json::from_str(text) {
            Ok(value) => flatten(&mut Vec::new(), &value, &mut values),
            Err(_) => scan(&tokens(text), &mut values),
        }
        Self(values)
    }

    /// Returns the value at a path.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(&parts(path)).map(String::as_str)
    }

    /// Tells whether there is a block or value at a path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(&parts(path)) || !self.names(path).is_empty()
    }

    /// Returns the names of what is in the block at a path.
    pub(super) fn names(&self, path: &str) -> BTreeSet<&str> {
        let block = parts(path);
        let inside = self.0.range(block.clone()..).take_while(|(path, _)| path.starts_with(&block));
        inside.filter_map(|(path, _)| path.get(block.len())).map(String::as_str).collect()
    }
}

fn parts(path: &str) -> Path {
    path.split('.').map(str::to_owned).collect()
}

fn flatten(path: &mut Path, value: &serde_json::Value, values: &mut BTreeMap<Path, String>) {
    use serde_json::Value;
    if path.len() > DEEPEST {
        return;
    }
    match value {
        Value::Object(map) => {
            // An empty block is there too: `https_spiffe {}`.
            values.insert(path.clone(), String::new());
            for (key, value) in map {
                path.push(key.clone());
                flatten(path, value, values);
                path.pop();
            }
        }
        Value::Array(items) => items.iter().for_each(|item| flatten(path, item, values)),
        Value::String(text) => drop(values.insert(path.clone(), text.clone())),
        Value::Number(number) => drop(values.insert(path.clone(), number.to_string())),
        Value::Bool(flag) => drop(values.insert(path.clone(), flag.to_string())),
        Value::Null => {}
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    Equals,
    Other,
}

/// Follows blocks (`server {`, `federates_with "bar.com" {`, `sds = {`) and takes values (`trust_domain = "foo.com"`).
fn scan(tokens: &[Token], values: &mut BTreeMap<Path, String>) {
    let mut path: Vec<Path> = Vec::new();
    let mut words = Path::new();
    let full =
        |path: &[Path], words: &[String]| path.iter().flatten().chain(words).cloned().collect::<Path>();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        match token {
            Token::Word(word) => words.push(word.clone()),
            Token::Equals => {
                if let Some(Token::Word(value)) = tokens.get(index + 1) {
                    values.insert(full(&path, &words), value.clone());
                    words.clear();
                    index += 1;
                }
            }
            Token::Open => {
                values.insert(full(&path, &words), String::new());
                path.push(std::mem::take(&mut words));
                if path.len() > DEEPEST {
                    return;
                }
            }
            Token::Close => {
                words.clear();
                path.pop();
            }
            Token::Other => words.clear(),
        }
        index += 1;
    }
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
            r#"{"server":{"trust_domain":"foo.com","federation":{"bundle_endpoint":{"port":8443,"profile":[{"https_spiffe":{}}]}}}}"#,
        );
        assert_eq!(settings.get("server.trust_domain"), Some("foo.com"));
        assert_eq!(settings.get("server.federation.bundle_endpoint.port"), Some("8443"));
        assert!(settings.has("server.federation.bundle_endpoint.profile.https_spiffe"));
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
    fn what_is_neither_gives_nothing_and_does_not_panic() {
        for text in ["", "{", "}}}", "\"", "a = ", "= =", "/*", "[1,2", "server { trust_domain", "\\"] {
            assert_eq!(Settings::parse(text).get("server.trust_domain"), None, "{text}");
        }
    }
}
