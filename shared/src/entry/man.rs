//! Man pages, made from the same texts as the help.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Writes a page for a plugin and for each of its verbs to a folder: `kubectl-spire-federate-up.1`, as `man kubectl-spire-federate-up`
/// finds it. Returns their names.
pub(super) fn write(command: Command, folder: &Path) -> io::Result<Vec<String>> {
    fs::create_dir_all(folder)?;
    let mut names = Vec::new();
    for (name, page) in pages(command)? {
        fs::write(folder.join(&name), page)?;
        names.push(name);
    }
    Ok(names)
}

/// Makes the pages, each with the name of its file.
fn pages(command: Command) -> io::Result<Vec<(String, String)>> {
    // Its user types a dash where its file has an underscore.
    let name = command.get_name().replace('_', "-");
    let mut command = command.display_name(name).disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, None, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, above: Option<&Command>, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let man = Man::new(command.clone())
        // Empty, it would be left out, and what follows be taken for it.
        .date(" ")
        .source(concat!("spire-mesh ", env!("CARGO_PKG_VERSION")))
        .manual("spire-mesh");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::default();
    if let Some(text) = command.get_after_long_help() {
        examples(&text.to_string(), &mut rest);
    }
    let above =
        above.and_then(Command::get_display_name).map(|name| format!("{name}(1), ")).unwrap_or_default();
    rest.control("SH", ["SEE ALSO"]).text([roman(format!("{above}kubectl(1)"))]);
    rest.to_writer(&mut page)?;
    pages.push((man.get_filename(), without_repetition(&String::from_utf8_lossy(&page))));
    command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .try_for_each(|verb| add(verb, Some(command), pages))
}

/// Leaves out what every section begins with, but once: how an apostrophe is written.
fn without_repetition(page: &str) -> String {
    let start = Roff::new().render();
    match page.strip_prefix(&start) {
        Some(rest) if !start.is_empty() => format!("{start}{}", rest.replace(&start, "")),
        _ => page.to_owned(),
    }
}

/// Writes what stands below the options: examples and exit codes, each a heading and indented lines, which stay as they are.
fn examples(text: &str, roff: &mut Roff) {
    for part in text.split("\n\n") {
        let (heading, body) = match part.split_once('\n') {
            Some((first, rest)) if !first.starts_with(' ') && first.ends_with(':') => (Some(first), rest),
            _ => (None, part),
        };
        if let Some(heading) = heading {
            // As other pages call it.
            let heading = heading.trim_end_matches(':').to_uppercase().replace("EXIT CODES", "EXIT STATUS");
            roff.control("SH", [heading.as_str()]);
        } else {
            roff.control("PP", []);
        }
        roff.control("nf", []);
        for line in body.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn a_page_has_what_the_help_has_with_its_examples_line_by_line() {
        let verb =
            Command::new("up").about("Do it").arg(Arg::new("yes").long("yes").num_args(0).help("Do not ask"));
        let command = Command::new("kubectl-an_example")
            .bin_name("kubectl an-example")
            .version("1.0.0")
            .about("Do something")
            .long_about("Do something\n\nSlowly.")
            .after_long_help("Examples:\n  # Do it\n  kubectl an-example up\n\n  # .or not\n  kubectl an-example\n\nExit codes:\n  0 done")
            .subcommand(verb)
            .subcommand(Command::new("secret").hide(true));
        let pages = pages(command).unwrap();
        let text: Vec<String> = pages.iter().map(|(name, page)| format!("=== {name}\n{page}")).collect();
        let text = text.concat().replace(env!("CARGO_PKG_VERSION"), "[version]");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_first_line_is_a_heading_only_where_it_stands_at_the_margin_and_ends_as_one() {
        let roff = |text: &str| {
            let mut roff = Roff::default();
            examples(text, &mut roff);
            roff.render()
        };
        assert!(roff("Exit codes:\n  0 done").contains(".SH \"EXIT STATUS\"\n"));
        for text in ["  Exit codes:\n  0 done", "Exit codes\n  0 done", "Exit codes:"] {
            let page = roff(text);
            assert!(page.contains(".PP\n") && !page.contains(".SH"), "{page}");
            assert!(page.contains("Exit codes"), "{page}");
        }
    }
}
