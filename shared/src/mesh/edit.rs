//! A cluster more or less in the text of a mesh file, with everything else left as somebody wrote it.
//!
//! Whole lines are added or taken out, at the places that the tree tells. The result is read again, and is returned only
//! when it means the old mesh with that cluster more or less.

use super::error::MeshFileError;
use super::init::{NewCluster, keys, name_for};
use super::tree::{Node, Position, Value};
use super::{Cluster, Mesh};
use crate::hint::{Advice, Hint, Plugin};
use crate::report::{escape, one_line};
use crate::trust::TrustDomain;

/// Why a mesh file is not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is no valid mesh file before the edit.
    #[error(transparent)]
    File(#[from] MeshFileError),
    /// The context belongs to a cluster of the mesh already.
    #[error("context `{}` belongs to cluster {cluster} of the mesh already, with trust domain {trust_domain}", escape(.context))]
    Context {
        /// The context.
        context: String,
        /// Name of that cluster.
        cluster: String,
        /// Trust domain of that cluster.
        trust_domain: TrustDomain,
    },
    /// The trust domain belongs to a cluster of the mesh already.
    #[error(
        "trust domain {trust_domain} belongs to cluster {cluster} of the mesh already: each cluster has one of its own"
    )]
    TrustDomain {
        /// The trust domain.
        trust_domain: TrustDomain,
        /// Name of that cluster.
        cluster: String,
    },
    /// No cluster of the mesh has this name.
    #[error("there is no cluster `{}` in {file}, only {}", escape(.name), .known.join(", "))]
    NoCluster {
        /// The name.
        name: String,
        /// Name of the file, safe to print.
        file: String,
        /// The names that there are.
        known: Vec<String>,
        /// The cluster whose context or trust domain this is.
        meant: Option<String>,
    },
    /// The clusters that stay would be no mesh.
    #[error("without {name} there would be one cluster only: a mesh has at least two, to trust each other")]
    TooFew {
        /// Name of the cluster.
        name: String,
    },
    /// The edited file would not be valid, because of what else stands there.
    #[error("{file} would no longer be a valid mesh file")]
    Invalid {
        /// Name of the file, safe to print.
        file: String,
        /// What would be wrong with it.
        source: MeshFileError,
    },
    /// The file is written in a way in which lines cannot be added or taken out.
    #[error("{file}:{line}: {why}")]
    ByHand {
        /// Name of the file, safe to print.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What stands in the way.
        why: &'static str,
    },
}

impl Hint for EditError {
    fn hint(&self) -> Option<Advice> {
        match self {
            Self::File(error) => error.hint(),
            Self::Context { .. } | Self::TrustDomain { .. } => None,
            Self::NoCluster { meant, .. } => {
                meant.as_ref().map(|name| Plugin::SpireFederate.command(["leave", name]).into())
            }
            Self::TooFew { .. } => {
                Some(Advice::from("to take the whole mesh away: ").then(Plugin::SpireFederate.command(["down"])))
            }
            Self::Invalid { .. } => {
                Some(Advice::from("change the mesh file by hand, then: ").then(Plugin::SpireFederate.up()))
            }
            Self::ByHand { .. } => Some(
                "write each cluster on lines of its own that begin with `- `, then run the same command again".into(),
            ),
        }
    }
}

/// Adds a cluster at the end of the list in the text of a mesh file, in the style of the one that is last now. Its name is made
/// from its context, as [`super::new_file`] does. `file_name` is used in messages only.
///
/// # Errors
///
/// When context or trust domain are there already, or the text cannot be edited.
pub fn with_cluster(text: &str, file_name: &str, new: &NewCluster) -> Result<String, EditError> {
    let before = Mesh::parse(text, file_name)?;
    refuse_what_is_there(&before, new)?;
    let file = one_line(file_name);
    let taken: Vec<String> = before.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    let name = name_for(&new.context, &taken);
    let listed = Listed::find(text, &file)?;
    let after = listed.with(&name, new);
    let is_new = |added: &Cluster| {
        added.name == name && added.context == new.context && added.trust_domain == new.trust_domain
    };
    let means = |mesh: &Mesh| {
        let last = mesh.clusters.split_last();
        mesh.name == before.name
            && last.is_some_and(|(added, others)| is_new(added) && others == before.clusters)
    };
    checked(after, file_name, listed.last_line(), means)
}

/// Fails when context or trust domain of a new cluster belong to one of the mesh.
fn refuse_what_is_there(mesh: &Mesh, new: &NewCluster) -> Result<(), EditError> {
    if let Some(same) = mesh.clusters.iter().find(|cluster| cluster.context == new.context) {
        return Err(EditError::Context {
            context: new.context.clone(),
            cluster: same.name.clone(),
            trust_domain: same.trust_domain.clone(),
        });
    }
    if let Some(same) = mesh.clusters.iter().find(|cluster| cluster.trust_domain == new.trust_domain) {
        return Err(EditError::TrustDomain {
            trust_domain: new.trust_domain.clone(),
            cluster: same.name.clone(),
        });
    }
    Ok(())
}

/// Takes a cluster out of the text of a mesh file, with the comments that belong to it: those below its first line that stand
/// further right than its `-`, and those directly above it that stand where its `-` does. `file_name` is used in messages only.
///
/// # Errors
///
/// When there is no such cluster, only one other, or the text cannot be edited.
pub fn without_cluster(text: &str, file_name: &str, name: &str) -> Result<String, EditError> {
    let before = Mesh::parse(text, file_name)?;
    let file = one_line(file_name);
    let Some(index) = before.clusters.iter().position(|cluster| cluster.name == name) else {
        let is_meant = |cluster: &&Cluster| cluster.context == name || cluster.trust_domain.as_str() == name;
        return Err(EditError::NoCluster {
            name: name.to_owned(),
            file,
            known: before.clusters.iter().map(|cluster| cluster.name.clone()).collect(),
            meant: before.clusters.iter().find(is_meant).map(|cluster| cluster.name.clone()),
        });
    };
    if before.clusters.len() <= 2 {
        return Err(EditError::TooFew { name: name.to_owned() });
    }
    let listed = Listed::find(text, &file)?;
    let after = listed.without(index);
    let mut expected = before;
    expected.clusters.remove(index);
    checked(after, file_name, listed.line_of(index), |mesh| *mesh == expected)
}

/// Returns an edited text if it means what it should. `line` is where the edit was made.
fn checked(
    text: String,
    file_name: &str,
    line: usize,
    means: impl Fn(&Mesh) -> bool,
) -> Result<String, EditError> {
    let file = one_line(file_name);
    match Mesh::parse(&text, file_name) {
        Ok(mesh) if means(&mesh) => Ok(text),
        Ok(_) => Err(EditError::ByHand {
            file,
            line,
            why: "an edit of these lines would change more than this one cluster",
        }),
        Err(source) => Err(EditError::Invalid { file, source }),
    }
}

/// The clusters of a mesh file as lines.
struct Listed<'t> {
    /// Every line of the file, with its end.
    lines: Vec<&'t str>,
    /// In the order of the file; not empty.
    items: Vec<Item>,
}

/// The lines of one cluster. Numbers of lines are from 0.
#[derive(Clone, Copy)]
struct Item {
    /// Its first line, which is a comment that belongs to it or the one with its `-`.
    first: usize,
    /// The line with its `-`.
    dash: Dash,
    /// The line after its last one.
    end: usize,
    /// Where what follows the `-` begins.
    value: Position,
}

/// The `-` of a cluster.
#[derive(Clone, Copy)]
struct Dash {
    line: usize,
    /// Characters before it, all of them spaces.
    indent: usize,
}

impl<'t> Listed<'t> {
    /// Finds the lines of each cluster in a valid mesh file.
    fn find(text: &'t str, file: &str) -> Result<Self, EditError> {
        let by_hand = |line, why| EditError::ByHand { file: file.to_owned(), line, why };
        let unclear = |position: Position| {
            by_hand(position.line, "this cluster does not begin with `- ` on a line of its own")
        };
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        if let Some(line) = lines.iter().position(|line| line.replace("\r\n", "").contains('\r')) {
            return Err(by_hand(
                line + 1,
                "a carriage return stands alone here, which YAML takes for the end of a line",
            ));
        }
        let tree = Node::parse(text.strip_prefix('\u{feff}').unwrap_or(text));
        let root = tree.map_err(|problem| by_hand(problem.place.line, "not valid YAML"))?;
        let spec = root.entry("spec").map(|entry| &entry.node);
        let clusters = spec.and_then(|spec| spec.entry("clusters"));
        let Some((entry, Value::List(nodes))) = clusters.map(|entry| (entry, &entry.node.value)) else {
            return Err(by_hand(1, "there is no list of clusters"));
        };
        if character(&lines, entry.node.position) == Some('[') {
            let why = "the clusters stand between brackets, where no line is one cluster's alone";
            return Err(by_hand(entry.node.position.line, why));
        }
        let mut dashes = Vec::with_capacity(nodes.len());
        let mut above = entry.position.line;
        for node in nodes {
            dashes.push(dash(&lines, node.position, above).ok_or_else(|| unclear(node.position))?);
            above = node.position.line;
        }
        let mut end = entry.position.line;
        let mut items = Vec::with_capacity(nodes.len());
        for (index, (node, dash)) in nodes.iter().zip(&dashes).enumerate() {
            let next = dashes.get(index + 1).map(|next| next.line);
            let limit = next.unwrap_or_else(|| limit(&root, spec, node.position, &lines));
            let first = first_line(&lines, *dash, end);
            end = end_line(&lines, *dash, limit);
            items.push(Item { first, dash: *dash, end, value: node.position });
        }
        if items.is_empty() {
            Err(by_hand(entry.position.line, "there is no cluster"))
        } else {
            Ok(Self { lines, items })
        }
    }

    /// Returns the line of a cluster's `-`, from 1.
    fn line_of(&self, index: usize) -> usize {
        self.items.get(index).map_or(1, |item| item.dash.line + 1)
    }

    /// Returns the line of the last cluster's `-`, from 1.
    fn last_line(&self) -> usize {
        self.line_of(self.items.len() - 1)
    }

    /// Returns the text without the lines of one cluster.
    fn without(&self, index: usize) -> String {
        let is_kept =
            |line: usize| self.items.get(index).is_none_or(|item| !(item.first..item.end).contains(&line));
        self.lines.iter().enumerate().filter(|(line, _)| is_kept(*line)).map(|(_, text)| *text).collect()
    }

    /// Returns the text with a cluster more, written as the last one is.
    fn with(&self, name: &str, new: &NewCluster) -> String {
        let last = self.items[self.items.len() - 1];
        let (before, after) = self.lines.split_at(last.end);
        let mut added = Vec::new();
        if self.are_apart() {
            added.push(String::new());
        }
        added.extend(self.written(&last, &keys(name, new)));

        let mut text = before.concat();
        let newline = line_end(before);
        if before.last().is_some_and(|line| line.ends_with('\n')) {
            for line in &added {
                text.extend([line, newline]);
            }
        } else {
            // The file ends without a line end, and goes on to do so.
            for line in &added {
                text.extend([newline, line]);
            }
        }
        text + &after.concat()
    }

    /// Tells whether a blank line stands between the last two clusters.
    fn are_apart(&self) -> bool {
        let [.., before, last] = self.items.as_slice() else { return false };
        self.lines[before.end..last.first].iter().any(|line| line.trim().is_empty())
    }

    /// Writes a cluster as `like` is written: on one line in braces, or on a line for each key.
    fn written(&self, like: &Item, keys: &[(&'static str, String)]) -> Vec<String> {
        let Item { dash, value, .. } = *like;
        let start = " ".repeat(dash.indent) + "-";
        // What follows the dash can stand on another line.
        let is_beside = value.line - 1 == dash.line;
        let gap = if is_beside { (value.column - 1).saturating_sub(start.len()).max(1) } else { 1 };
        let gap = " ".repeat(gap);
        if character(&self.lines, value) == Some('{') {
            let next = character(&self.lines, Position { column: value.column + 1, ..value });
            let pad = if next == Some(' ') { " " } else { "" };
            let keys: Vec<String> = keys.iter().map(|(key, text)| format!("{key}: {text}")).collect();
            return vec![format!("{start}{gap}{{{pad}{}{pad}}}", keys.join(", "))];
        }
        let further = " ".repeat(start.len() + gap.len());
        let lines = keys.iter().enumerate().map(|(index, (key, text))| match index {
            0 => format!("{start}{gap}{key}: {text}"),
            _ => format!("{further}{key}: {text}"),
        });
        lines.collect()
    }
}

/// Returns the character at a place.
fn character(lines: &[&str], position: Position) -> Option<char> {
    lines.get(position.line - 1)?.chars().nth(position.column - 1)
}

/// Finds the `-` of a list item whose value is at `value`: before it on the same line, or on a line of its own above it and
/// below the line number `above`.
fn dash(lines: &[&str], value: Position, above: usize) -> Option<Dash> {
    let line = value.line - 1;
    let before: String = lines.get(line)?.chars().take(value.column - 1).collect();
    if let Some(indent) = lone_dash(&before) {
        return Some(Dash { line, indent });
    }
    if !before.trim().is_empty() {
        return None;
    }
    let is_skipped = |text: &str| is_blank(text) || is_comment(text);
    let line = (above..line).rev().find(|line| !is_skipped(lines[*line]))?;
    let text = lines[line].split(" #").next().unwrap_or_default();
    Some(Dash { line, indent: lone_dash(text)? })
}

/// Returns the number of spaces before a `-` that nothing else stands beside.
fn lone_dash(text: &str) -> Option<usize> {
    (text.trim() == "-").then(|| text.chars().take_while(|character| *character == ' ').count())
}

/// Returns the number of the line at which a list has ended whose last item is at `last`: that of the next key, or of the end of
/// the document.
fn limit(root: &Node, spec: Option<&Node>, last: Position, lines: &[&str]) -> usize {
    let keys = root.entries().iter().chain(spec.into_iter().flat_map(Node::entries));
    let next = keys.map(|entry| entry.position).filter(|key| *key > last).map(|key| key.line - 1);
    let is_marker = |line: &usize| lines[*line].starts_with("...") || lines[*line].starts_with("---");
    let marker = (last.line..lines.len()).find(is_marker);
    next.chain(marker).chain([lines.len()]).min().unwrap_or_default()
}

/// Returns the first of the comments directly above a `-` that stand where it does, not before line `after`; else its own line.
fn first_line(lines: &[&str], dash: Dash, after: usize) -> usize {
    let belongs = |line: &usize| is_comment(lines[*line]) && indent(lines[*line]) == dash.indent;
    (after..dash.line).rev().take_while(belongs).last().unwrap_or(dash.line)
}

/// Returns the line after the last one of an item: comments further right than its `-` are in it, blank lines and other comments
/// before `limit` are not.
fn end_line(lines: &[&str], dash: Dash, limit: usize) -> usize {
    let belongs = |line: &usize| {
        let text = lines[*line];
        !is_blank(text) && (!is_comment(text) || indent(text) > dash.indent)
    };
    (dash.line + 1..limit).rev().find(belongs).map_or(dash.line + 1, |line| line + 1)
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Returns how many characters of white space a line begins with.
fn indent(line: &str) -> usize {
    line.chars().take_while(|character| character.is_whitespace()).count()
}

/// Returns how lines end, from the last of them that has an end.
fn line_end(lines: &[&str]) -> &'static str {
    let ended = lines.iter().rev().find(|line| line.ends_with('\n'));
    if ended.is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests;
