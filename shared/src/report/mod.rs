//! Results, messages and progress on their way to the reader, on a terminal or in a file: the only room that knows a terminal.
//!
//! Results go to standard output, everything else to standard error. A command hands over one [`Report`]; the
//! [`Printer`] makes a table, JSON or YAML of it.

mod confirm;
mod escape;
mod file;
mod printer;
mod progress;
mod table;

use serde::Serialize;

pub use confirm::ConfirmError;
pub(crate) use escape::cut;
pub use escape::{escape, one_line};
pub use file::{make_folder, write_file};
pub use printer::{Captured, Format, OutputError, Printer};
pub use progress::{Line, Progress};
pub use table::{Cell, Table};

/// The result of a command.
///
/// `-o json` and `-o yaml` print exactly what `Serialize` gives, so its shape is a promise.
pub trait Report: Serialize {
    /// Returns the result as a table, for people. `wide` asks for the columns that only `-o wide` shows.
    fn table(&self, wide: bool) -> Table;

    /// Returns text that stands above the first table, for what is no table. Foreign text in it is escaped by who writes it.
    fn above(&self, _wide: bool) -> String {
        String::new()
    }

    /// Returns further tables, which stand below the first. One without rows is left out.
    fn more_tables(&self, _wide: bool) -> Vec<Table> {
        Vec::new()
    }
}
