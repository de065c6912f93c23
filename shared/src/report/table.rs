//! Tables as kubectl prints them: upper-case headers, no borders, three spaces between columns.

use owo_colors::{OwoColorize, Style};
use unicode_width::UnicodeWidthStr;

use super::one_line;

/// What kubectl prints where there is nothing; a column that is never empty can be cut with `awk`.
const NOTHING: &str = "<none>";
const GAP: usize = 3;
const NOTE_INDENT: &str = "    ";

/// A table with one line per row.
///
/// Its width does not depend on the terminal, so that a script sees what a person sees.
#[derive(Clone, Debug)]
pub struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Row>,
    when_empty: &'static str,
}

/// A line of fields, and lines below it that span all columns.
#[derive(Clone, Debug)]
struct Row {
    cells: Vec<Cell>,
    notes: Vec<String>,
}

/// One field of a table.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Table {
    /// Makes an empty table with these column headers (upper case).
    #[must_use]
    pub fn new(headers: impl IntoIterator<Item = &'static str>) -> Self {
        Self { headers: headers.into_iter().collect(), rows: Vec::new(), when_empty: "nothing found" }
    }

    /// Sets the message that stands for a table without rows. It goes to standard error.
    #[must_use]
    pub fn when_empty(mut self, message: &'static str) -> Self {
        self.when_empty = message;
        self
    }

    /// Adds a row. The caller sorts; a missing field is printed as `<none>`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(Row { cells: cells.into_iter().map(Into::into).collect(), notes: Vec::new() });
    }

    /// Adds a line below the last row, indented, over all columns: what belongs to the row and fits no column.
    pub fn note(&mut self, text: impl AsRef<str>) {
        if let Some(row) = self.rows.last_mut() {
            row.notes.push(one_line(text.as_ref()));
        }
    }

    /// Returns the message to print when there are no rows.
    pub(super) fn empty_message(&self) -> Option<&'static str> {
        self.rows.is_empty().then_some(self.when_empty)
    }

    /// Renders the table with colours; the stream it is written to strips them where they are not wanted.
    pub(super) fn render(&self) -> String {
        let cells = self.headers.iter().map(|&header| Cell::from(header)).collect();
        let headers = Row { cells, notes: Vec::new() };
        let lines = || std::iter::once(&headers).chain(&self.rows);
        let nothing = Cell::from("");
        let cell = |row: &Row, column: usize| row.cells.get(column).unwrap_or(&nothing).clone();
        let widths: Vec<usize> = (0..self.headers.len())
            .map(|column| lines().map(|row| cell(row, column).text.width()).max().unwrap_or(0))
            .collect();

        let mut text = String::new();
        for row in lines() {
            for (column, width) in widths.iter().enumerate() {
                let cell = cell(row, column);
                text.push_str(&cell.text.style(cell.style).to_string());
                if column + 1 < widths.len() {
                    text.extend(std::iter::repeat_n(' ', width - cell.text.width() + GAP));
                }
            }
            text.push('\n');
            for note in &row.notes {
                text.extend([NOTE_INDENT, note, "\n"]);
            }
        }
        text
    }
}

impl Cell {
    /// Makes a cell for something that is as it should be (green). The words must say so too.
    #[must_use]
    pub fn good(text: impl AsRef<str>) -> Self {
        Self { style: Style::new().green(), ..Self::from(text.as_ref()) }
    }

    /// Makes a cell for something that needs attention (yellow). The words must say so too.
    #[must_use]
    pub fn attention(text: impl AsRef<str>) -> Self {
        Self { style: Style::new().yellow(), ..Self::from(text.as_ref()) }
    }

    /// Makes a cell for something that is wrong (red). The words must say so too.
    #[must_use]
    pub fn bad(text: impl AsRef<str>) -> Self {
        Self { style: Style::new().red(), ..Self::from(text.as_ref()) }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        let text = one_line(text);
        Self { text: if text.is_empty() { NOTHING.to_owned() } else { text }, style: Style::new() }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::from(number.to_string())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Self::from(""), Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut table = Table::new(["CLUSTER", "TRUST DOMAIN", "SERVER"]);
        table.row([Cell::from("foo-eks-cluster"), "foo.com".into(), Cell::good("ready")]);
        table.row([Cell::from("東京"), Cell::from(""), Cell::bad("not found")]);
        table.row([Cell::from("ba\u{1b}[2Jr")]);
        let text = anstream::adapter::strip_str(&table.render()).to_string();
        insta::assert_snapshot!(text, @r"
        CLUSTER           TRUST DOMAIN   SERVER
        foo-eks-cluster   foo.com        ready
        東京              <none>         not found
        ba\u{1b}[2Jr      <none>         <none>
        ");
        assert!(text.lines().all(|line| line.trim_end() == line), "no trailing spaces");
    }

    #[test]
    fn notes_stand_below_their_row_and_move_no_column() {
        let mut table = Table::new(["CHECK", "RESULT"]);
        table.note("belongs to nothing");
        table.row(["bundle-stored", "fail"]);
        table.note("stored: \u{1b}[2J a long line that is wider than the table");
        table.row(["webhook", "pass"]);
        insta::assert_snapshot!(anstream::adapter::strip_str(&table.render()).to_string(), @r"
        CHECK           RESULT
        bundle-stored   fail
            stored: \u{1b}[2J a long line that is wider than the table
        webhook         pass
        ");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let table = |cell: Cell| {
            let mut table = Table::new(["SERVER", "AGE"]);
            table.row([cell, Cell::from(3)]);
            anstream::adapter::strip_str(&table.render()).to_string()
        };
        assert_eq!(table(Cell::good("ready")), table(Cell::from("ready")));
        let coloured = |cell: Cell| {
            let mut table = Table::new(["A"]);
            table.row([cell]);
            table.render().lines().nth(1).unwrap().to_owned()
        };
        let [good, attention, bad] = [Cell::good("a"), Cell::attention("a"), Cell::bad("a")].map(coloured);
        assert_eq!(
            [good, attention, bad],
            ["\u{1b}[32ma\u{1b}[0m", "\u{1b}[33ma\u{1b}[0m", "\u{1b}[31ma\u{1b}[0m"]
        );
        assert_eq!(coloured(Cell::from("a")), "a");
    }

    #[test]
    fn a_table_without_rows_has_a_message_and_a_field_that_is_missing_has_one_too() {
        let mut table = Table::new(["A", "B", "C"]).when_empty("no clusters");
        assert_eq!(table.empty_message(), Some("no clusters"));
        assert_eq!(Table::new(["A"]).empty_message(), Some("nothing found"));
        table.row([Cell::from(12), Some("b".to_owned()).into(), None::<String>.into()]);
        assert_eq!(table.empty_message(), None);
        insta::assert_snapshot!(table.render(), @r"
        A    B   C
        12   b   <none>
        ");
    }
}
