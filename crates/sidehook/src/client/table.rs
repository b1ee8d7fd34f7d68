//! Tables that can be read on the terminal that they are for.
//!
//! Ids are long, and whoever reads one wants to copy it: no cell of a list is ever broken.
//! A list that is wider than the terminal is folded instead: each row is a line of the
//! columns that fit, and what does not fit stands below it with its names. Where the
//! width is not known (a file, a pipe) nothing is folded.

use comfy_table::{ContentArrangement, Table, presets};

use super::terminal::{harmless, harmless_lines};

/// Blanks before what was folded.
const INDENT: usize = 4;
/// Blanks between the columns of a folded list.
const GAP: usize = 2;
/// What the frame takes of a line, and of each column of it.
const FRAME: (usize, usize) = (1, 3);

/// A list of rows under `head`, for the terminal that standard output is.
pub(super) fn listed(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = Table::new().width();
    listed_within(head, rows, width.map(usize::from))
}

fn listed_within(head: &[&str], rows: Vec<Vec<String>>, width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(head.iter().copied());
    table.add_rows(cells(&rows));
    let widths = table.column_max_content_widths();
    let widths: Vec<_> = widths.into_iter().map(usize::from).collect();
    let whole = FRAME.0 + widths.iter().map(|cell| cell + FRAME.1).sum::<usize>();
    match width {
        Some(width) if whole > width => folded(head, &rows, &widths, width),
        _ => table.to_string(),
    }
}

/// Names and what they stand for, beneath each other. Only here long cells are broken:
/// the names to their left stay in their column.
pub(super) fn facts(rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.add_rows(cells(&rows));
    table.to_string()
}

/// The one place where cells come from: a cell may have lines, and obeys the rule of
/// [`harmless`] before its width is measured.
fn cells(rows: &[Vec<String>]) -> impl Iterator<Item = Vec<String>> + '_ {
    let row = |row: &Vec<String>| row.iter().map(|cell| harmless_lines(cell)).collect();
    rows.iter().map(row)
}

fn folded(head: &[&str], rows: &[Vec<String>], widths: &[usize], width: usize) -> String {
    let mut left = width;
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for (column, cell) in widths.iter().enumerate() {
        if cell + GAP <= left {
            left -= cell + GAP;
            above.push(column);
        } else {
            below.push(column);
        }
    }
    // One line per row, so a cell's own lines are shown in it.
    let cell = |row: &Vec<String>, column: usize| {
        let text = row.get(column).map_or("", |text| text.trim_end());
        harmless(text).into_owned()
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(above.iter().map(|column| head[*column]));
    table.add_rows(rows.iter().map(|row| {
        above
            .iter()
            .map(|column| cell(row, *column))
            .collect::<Vec<_>>()
    }));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut lines = table.lines();
    let mut text: Vec<_> = lines.next().into_iter().collect();
    for (row, line) in rows.iter().zip(lines) {
        text.push(line);
        let named = below
            .iter()
            .map(|column| (head[*column], cell(row, *column)));
        let named = named.filter(|(_, cell)| !cell.is_empty());
        let named = named.map(|(name, cell)| format!("{name} {cell}"));
        text.extend(packed(named, width));
    }
    let text: Vec<_> = text.iter().map(|line| line.trim_end()).collect();
    text.join("\n")
}

/// Pieces in as few indented lines as hold them; a piece is not broken.
fn packed(pieces: impl Iterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if line.chars().count() + GAP + piece.chars().count() <= width => {
                line.push_str(&" ".repeat(GAP));
                line.push_str(&piece);
            }
            _ => lines.push(format!("{}{piece}", " ".repeat(INDENT))),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: [&str; 6] = [
        "ID",
        "STATE",
        "ATTEMPTS",
        "NEXT ATTEMPT",
        "EVENT",
        "SUBSCRIPTION",
    ];

    fn rows() -> Vec<Vec<String>> {
        let row = |state: &str, next: &str| {
            [
                "dlv_00JFda7tG5AIOvTjjPQpEE",
                state,
                "3",
                next,
                "ev_3BBPl4oCaH5HunQjrSKfAm",
                "whsub_5WOMtwaZhhQ86S97qB5j8o",
            ]
            .map(str::to_owned)
            .to_vec()
        };
        vec![
            row("retrying", "2026-11-21T09:54:05.383Z"),
            row("delivered", ""),
        ]
    }

    #[test]
    fn what_is_wider_than_the_terminal_is_folded_and_no_id_broken() {
        for (width, lines) in [(80, 5), (120, 5), (60, 8)] {
            let text = listed_within(&HEAD, rows(), Some(width));
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
            for id in ["dlv_00JFda7tG5AIOvTjjPQpEE", "whsub_5WOMtwaZhhQ86S97qB5j8o"] {
                assert_eq!(text.matches(id).count(), 2, "{text}");
            }
        }
        for width in [Some(140), None] {
            let text = listed_within(&HEAD, rows(), width);
            assert!(text.starts_with('┌') && text.lines().count() == 6, "{text}");
        }
    }

    #[test]
    fn what_was_folded_has_its_name_and_empty_cells_are_left_out() {
        let text = listed_within(&HEAD, rows(), Some(80));
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with("ID  ") && !lines[0].contains("EVENT"),
            "{text}"
        );
        assert!(lines[2].starts_with("    EVENT ev_"), "{text}");
        let narrow = listed_within(&HEAD, rows(), Some(50));
        assert_eq!(narrow.matches("NEXT ATTEMPT ").count(), 1, "{narrow}");
    }

    #[test]
    fn a_receivers_words_stay_in_their_cell() {
        let words = "tls: \x1b[2J\u{9b}H\u{202e}\n2  delivered\r";
        let row = vec!["1".to_owned(), words.to_owned()];
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        for table in [
            facts(vec![row.clone()]),
            listed_within(&["#", "ENDED"], vec![row.clone()], None),
        ] {
            assert!(!table.contains(obeyed), "{table:?}");
            assert!(table.contains(r"tls: \u001b[2J\u009bH\u202e"), "{table}");
            // What claims to be another row has no number in the first column.
            let claim = table.lines().find(|line| line.contains("delivered"));
            let claim = claim.expect("the second line").trim_start_matches('│');
            assert!(claim.starts_with("   "), "{claim:?}");
        }
        let narrow = listed_within(&["#", "ENDED"], vec![row], Some(20));
        assert!(!narrow.contains(obeyed), "{narrow:?}");
        assert_eq!(narrow.lines().count(), 3, "{narrow}");
    }
}
