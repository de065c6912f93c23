use std::path::PathBuf;
use std::sync::OnceLock;

/// Flags of this process without which a command that it prints would reach another mesh, another cluster, or reach it as somebody else.
///
/// They are facts of the process and stay what they are, so that every command has them, wherever it was put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--mesh`.
    pub mesh: Option<PathBuf>,
    /// `--as`.
    pub user: Option<String>,
    /// `--as-group`.
    pub groups: Vec<String>,
}

static GIVEN: OnceLock<Given> = OnceLock::new();

impl Given {
    /// Has every command that this process prints from now on pass these flags on.
    pub fn pass_on(self) {
        // A process is started once: nothing else comes later.
        let _ = GIVEN.set(self);
    }

    /// Returns what this process was given, nothing where nobody said so.
    pub(super) fn of_process() -> &'static Self {
        GIVEN.get_or_init(Self::default)
    }
}
