//! From words to what could stand where the cursor is.

use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Arg, Command, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};

use super::around::Around;
use super::lookup::Lookup;
use super::protocol::{Answer, Candidate, Files};
use super::takes::Takes;

/// How long is waited for a cluster.
const PATIENCE: Duration = Duration::from_secs(2);

/// Finds out what could stand in place of the last word of a command line. Waits for a cluster two seconds at most.
pub(crate) fn answer(command: Command, words: &[OsString]) -> Answer {
    answer_within(command, words, PATIENCE)
}

/// Does the same, with another patience.
pub(super) fn answer_within(command: Command, words: &[OsString], patience: Duration) -> Answer {
    let (word, before) =
        words.split_last().map_or((OsStr::new(""), words), |(word, before)| (&**word, before));
    let Some(word) = word.to_str() else { return Answer::default() };
    let asked = Asked {
        word: word.to_owned(),
        around: Around::read(&command, before, patience).into(),
        files: Arc::default(),
    };
    let mut arguments = vec![OsString::from(command.get_name())];
    arguments.extend_from_slice(before);
    // A short flag is complete; what else could be written into the same word is not what somebody means who wants to go on.
    let is_short = word.starts_with('-') && word.chars().count() == 2 && word != "--";
    arguments.push(if is_short { "-".into() } else { word.into() });
    let index = arguments.len() - 1;
    let mut command = asked.attach(command);
    let found = complete(&mut command, arguments, index, None).unwrap_or_default();
    let files = *asked.files.lock().unwrap_or_else(PoisonError::into_inner);
    // Shells know by themselves that what they are given belongs behind the sign.
    let flag = if word.starts_with('-') { word.find('=').map_or(0, |at| at + 1) } else { 0 };
    let mut candidates: Vec<Candidate> = Vec::new();
    for found in found.iter().filter(|found| !found.is_hide_set()) {
        let Some(value) = found.get_value().to_str().filter(|value| value.starts_with(word)) else {
            continue;
        };
        // Flags only for who has begun one: else they would hide what is looked for.
        if value.starts_with('-') && !word.starts_with('-') {
            continue;
        }
        let meaning = found.get_help().map(ToString::to_string).unwrap_or_default();
        let candidate = Candidate::new(&value[flag..], &meaning);
        candidates.extend(candidate.filter(|new| candidates.iter().all(|known| known.word() != new.word())));
    }
    Answer { candidates, files }
}

/// What is asked for, for the arguments that look it up.
#[derive(Clone)]
struct Asked {
    word: String,
    around: Arc<Around>,
    /// Set by the argument that is completed, where it takes files.
    files: Arc<Mutex<Files>>,
}

impl Asked {
    /// Gives every argument that takes something else than fixed words what finds it.
    fn attach(&self, command: Command) -> Command {
        command.mut_args(|argument| self.attach_to(argument)).mut_subcommands(|verb| self.attach(verb))
    }

    fn attach_to(&self, argument: Arg) -> Arg {
        if argument.is_require_equals_set() && !self.word.starts_with("--") {
            return argument.add(ArgValueCompleter::new(|_: &OsStr| Vec::new()));
        }
        if let Some(takes) = argument.get::<Takes>() {
            let lookup = Lookup { takes: *takes, around: self.around.clone() };
            return argument.add(ArgValueCompleter::new(lookup));
        }
        let files = match argument.get_value_hint() {
            ValueHint::AnyPath | ValueHint::FilePath => Files::Any,
            ValueHint::DirPath => Files::Folders,
            _ => return argument,
        };
        let asked = self.files.clone();
        argument.add(ArgValueCompleter::new(move |_: &OsStr| -> Vec<CompletionCandidate> {
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = files;
            Vec::new()
        }))
    }
}
