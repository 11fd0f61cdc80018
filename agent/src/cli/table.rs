//! Tables for a terminal: columns that fit a width, long names shortened in the middle.
//!
//! Entry points: [`Table`], [`fit`], [`clean`]. Text is taken as one column a character, so everything but
//! printable ASCII is replaced first: names in Kubernetes are ASCII, and nothing else may steer a terminal.

use std::fmt::Write;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

impl Style {
    /// `text` in the colour of `code` (ECMA-48 SGR), or as it is.
    pub(super) fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Colours, by what they say.
pub(super) mod colour {
    pub(crate) const GOOD: &str = "32";
    pub(crate) const BAD: &str = "31";
    pub(crate) const DOUBTFUL: &str = "33";
    pub(crate) const HEADER: &str = "1";
    pub(crate) const QUIET: &str = "2";
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its title.
    pub title: &'static str,
    /// Whether it gives way, down to this width, when the table does not fit.
    pub least: Option<usize>,
    /// Whether it is drawn flush right.
    pub right: bool,
}

impl Column {
    /// A column that keeps its width.
    pub const fn fixed(title: &'static str) -> Self {
        Self { title, least: None, right: false }
    }

    /// A column that gives way down to `least`.
    pub const fn elastic(title: &'static str, least: usize) -> Self {
        Self { title, least: Some(least), right: false }
    }

    /// A column of numbers.
    pub const fn number(title: &'static str) -> Self {
        Self { title, least: None, right: true }
    }
}

/// One cell: its text, and its colour if it has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    code: Option<&'static str>,
}

impl Cell {
    pub(super) fn coloured(text: &str, code: &'static str) -> Self {
        Self { text: clean(text), code: Some(code) }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: clean(text.as_ref()), code: None }
    }
}

/// Rows under titles.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// No rows yet.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row of plain text; cells beyond the columns are left out.
    pub fn text_row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.row(cells.into_iter().map(Cell::from).collect());
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table, no line wider than the style says as long as the columns' least widths allow it.
    pub fn render(&self, style: Style) -> String {
        let widths = self.widths(style.width);
        let titles: Vec<Cell> =
            self.columns.iter().map(|column| Cell::coloured(column.title, colour::HEADER)).collect();
        let mut out = String::new();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let cells = self.columns.iter().zip(row).zip(&widths);
            let drawn: Vec<String> =
                cells.map(|((column, cell), width)| draw(cell, *width, column.right, style)).collect();
            let _ = writeln!(out, "{}", drawn.join("  ").trim_end());
        }
        out
    }

    /// Each column as wide as its widest cell; then the widest elastic ones give way.
    fn widths(&self, most: usize) -> Vec<usize> {
        let widest = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.len());
            cells.max().unwrap_or(0).max(self.columns[index].title.len())
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(widest).collect();
        let gaps = 2 * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > most {
            let can_give = |(index, width): &(usize, &mut usize)| {
                self.columns[*index].least.is_some_and(|least| **width > least)
            };
            let Some((_, width)) =
                widths.iter_mut().enumerate().filter(can_give).max_by_key(|(_, width)| **width)
            else {
                break;
            };
            *width -= 1;
        }
        widths
    }
}

fn draw(cell: &Cell, width: usize, right: bool, style: Style) -> String {
    let text = fit(&cell.text, width);
    let gap = " ".repeat(width.saturating_sub(text.len()));
    let text = cell.code.map_or(text.clone(), |code| style.paint(code, &text));
    if right { gap + &text } else { text + &gap }
}

/// `text` with everything but printable ASCII replaced by `?`.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Clean `text` in at most `width` columns: where it is longer, its middle becomes `..`, since names differ
/// in their beginnings and their ends.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    if width < 4 {
        return text[..width].to_owned();
    }
    let tail = (width - 2) / 2;
    let head = width - 2 - tail;
    format!("{}..{}", &text[..head], &text[text.len() - tail..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Style = Style { colour: false, width: 40 };

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new([Column::fixed("NAME"), Column::number("N"), Column::elastic("WHY", 8)]);
        table.text_row(["cart", "7", "because"]);
        table.text_row(["checkout", "1234", "-"]);
        assert_eq!(
            table.render(PLAIN),
            "NAME         N  WHY\n\
             cart         7  because\n\
             checkout  1234  -\n"
        );
    }

    #[test]
    fn the_widest_column_gives_way_and_keeps_both_ends_of_its_text() {
        let mut table = Table::new([Column::fixed("NAME"), Column::elastic("IDENTITY", 8)]);
        table.text_row(["cart", "spiffe://cluster.local/ns/shop/sa/cart-service"]);
        assert_eq!(table.render(PLAIN), "NAME  IDENTITY\ncart  spiffe://cluster../sa/cart-service\n");
    }

    #[test]
    fn what_could_steer_a_terminal_is_replaced() {
        assert_eq!(clean("a\x1b[31mb\r\n\u{202e}c"), "a?[31mb???c");
    }

    #[test]
    fn colour_does_not_change_the_layout() {
        let mut table = Table::new([Column::fixed("A"), Column::fixed("B")]);
        table.row(vec![Cell::coloured("yes", colour::GOOD), "x".into()]);
        let coloured = table.render(Style { colour: true, width: 40 });
        assert!(coloured.contains("\x1b[32myes\x1b[0m  x\n"), "{coloured:?}");
    }

    proptest! {
        #[test]
        fn fitted_text_is_never_wider(text in "\\PC{0,80}", width in 0usize..50) {
            let text = clean(&text);
            prop_assert!(fit(&text, width).len() <= width);
        }
    }
}
