//! Completion: what could stand in a command line where the cursor is.
//!
//! kubectl completes the words of a plugin by running `kubectl_complete-NAME` from the PATH, with the words so far. That is a link
//! to the plugin itself, which [`entry`](crate::entry) makes for its user, and which answers when it is called by that name.
//!
//! Flags, verbs and fixed values come from the command itself. What has to be looked up, an argument says with [`Takes`]: names in
//! the kubeconfig, in the mesh file, or, live, in a cluster. A completion is no place for messages: whatever cannot be looked up
//! in time is left out.

mod answer;
mod around;
mod link;
mod live;
mod lookup;
mod protocol;
mod takes;

use std::ffi::{OsStr, OsString};
use std::path::Path;

pub(crate) use answer::answer;
pub use link::LinkError;
pub(crate) use link::{Place, asked, flag, link};
pub use takes::{Source, Takes};

/// The word that asks for completion, too: what programs with completion by cobra call it, and scripts know.
const VERB: &str = "__complete";

/// Returns the words to complete, where a plugin was run for that. The last one is where the cursor is.
pub(crate) fn words(arguments: &[OsString]) -> Option<&[OsString]> {
    let (program, words) = arguments.split_first()?;
    let file = Path::new(program).file_name().and_then(OsStr::to_str);
    if file.is_some_and(|file| file.starts_with(link::COMPLETER)) {
        return Some(words);
    }
    words.split_first().filter(|(first, _)| *first == VERB).map(|(_, words)| words)
}

#[cfg(test)]
mod tests;
