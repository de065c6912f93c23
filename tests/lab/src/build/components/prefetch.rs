//! Downloading what later components need while earlier ones are compiled: compiling waits for the processor, downloading for
//! the network.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Component, Recipe, go};

const INTERVAL: Duration = Duration::from_millis(100);

/// Downloads in the background. Ends with this value.
#[derive(Debug)]
pub(in super::super) struct Prefetch {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    running: Option<Child>,
}

impl Prefetch {
    /// Begins to download the Go modules of these components, one after the other. What cannot be downloaded is left to the
    /// build, which says why.
    pub(in super::super) fn start<'c>(
        components: impl IntoIterator<Item = &'c Component>,
        sources: &Path,
    ) -> Self {
        let commands: Vec<Command> =
            components.into_iter().flat_map(|component| commands(component, sources)).collect();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || commands.into_iter().for_each(|command| run(command, &shared)));
        Self { state, thread: Some(thread) }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended = true;
            if let Some(child) = &mut state.running {
                // It has ended by itself when this fails.
                let _ = child.kill();
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn commands(component: &Component, sources: &Path) -> Vec<Command> {
    let dir: PathBuf = sources.join(component.folder);
    match &component.recipe {
        Recipe::Go { cgo, programs } => {
            programs.iter().map(|program| go::list_dependencies(&dir, *cgo, program)).collect()
        }
        Recipe::C { .. } | Recipe::Wheel { .. } => Vec::new(),
    }
}

fn run(mut command: Command, shared: &Mutex<State>) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut state = lock();
        if state.ended {
            return;
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        state.running = command.spawn().ok();
    }
    // Asked now and then instead of waited for, so that the lock is free for whoever wants to end it.
    let is_running = || lock().running.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
    while is_running() {
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_at_once_when_nobody_needs_it_any_more() {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let thread = Some(thread::spawn(move || run(sleep, &shared)));
        drop(Prefetch { state, thread });
    }
}
