use std::borrow::Cow;

/// Writes a text as one word of a command that is shown to be pasted into a shell: in quotes where a shell would take it for more than a
/// word. Paths in somebody's configuration and names of contexts may hold anything.
#[must_use]
pub fn word(text: &str) -> Cow<'_, str> {
    // Inside a word, these two mean nothing to a shell: quotes would only make `app=istiod` harder to read.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-./:@_=,".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-') && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    // Refused is a zero byte only, which no argument can hold.
    shlex::try_quote(text).unwrap_or(Cow::Borrowed("''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_act_on_is_quoted_and_nothing_else_is() {
        let plain = [
            "/run/spire/api.sock",
            "arn:aws:eks:eu-west-1:111122223333:cluster/foo",
            "me@foo",
            "--replicas=1",
            "app=istiod,pod=a",
        ];
        assert_eq!(plain.map(word), plain);
        assert_eq!(word("/tmp/$(id).sock; ls"), "'/tmp/$(id).sock; ls'");
        assert_eq!(word("=ls"), "'=ls'");
        assert_eq!(word("a={b,c}"), "'a={b,c}'");
        assert_eq!(word("it's"), "\"it's\"");
        assert_eq!(word(""), "''");
        assert_eq!(word("a\0b"), "''");
    }
}
