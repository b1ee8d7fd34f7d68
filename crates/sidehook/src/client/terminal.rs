//! What other people wrote (payloads, names, URLs, receivers' answers, a server's
//! messages) on its way to a terminal.
//!
//! A terminal obeys some characters instead of showing them: it moves the cursor, sets
//! its title, answers into the keyboard's queue. So one rule holds for all that is
//! shown to people: control characters (of C0, DEL and C1), marks that change the
//! direction of writing, and the separators of lines and paragraphs appear as `\u001b`
//! and the like. Everything else stays as it is.
//!
//! JSON for programs stays byte for byte. Where it goes to a terminal the same rule
//! holds, and what is shown still reads as the same JSON.

use std::borrow::Cow;

/// Whether a terminal would obey `c`, or show what follows in another order.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// `text` in one line that no terminal obeys.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_obeyed(c) {
            // All of them have four digits at most.
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// `text` with the lines that it has: for a cell of a table, whose frame shows that
/// they belong together.
pub(crate) fn harmless_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(harmless).collect();
    lines.join("\n")
}

/// JSON text as the same JSON that no terminal obeys.
pub(crate) fn harmless_json(json: &str) -> String {
    // Outside of strings JSON has no such characters but these, which are blanks there,
    // and in strings it has none of these.
    harmless_lines(&json.replace(['\r', '\t'], " "))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        for (text, shown) in [
            (
                "plain, größer, 東京, \u{1f980}",
                "plain, größer, 東京, \u{1f980}",
            ),
            ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
            ("a\r\nb\tc\0", "a\\u000d\\u000ab\\u0009c\\u0000"),
            ("\x7f\u{9b}2J", "\\u007f\\u009b2J"),
            ("\u{202e}gpj.exe\u{2069}", "\\u202egpj.exe\\u2069"),
            ("\u{2028}\u{200f}\u{61c}", "\\u2028\\u200f\\u061c"),
        ] {
            assert_eq!(harmless(text), shown);
        }
        assert_eq!(harmless_lines("a\n\x1bb\r\n"), "a\n\\u001bb\\u000d\n");
    }

    #[test]
    fn no_character_that_is_obeyed_comes_through() {
        let all: String = (0..=0x3000).filter_map(char::from_u32).collect();
        let shown = harmless(&all);
        assert!(!shown.contains(is_obeyed));
        for c in (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32) {
            assert!(is_obeyed(c), "{c:?}");
        }
    }

    #[test]
    fn json_for_a_terminal_is_the_same_json() {
        let json = "{\r\n\t\"a\":\r\"\u{7f}\u{9b}2J\u{202e} \\t \\\\ \",\n\"b\u{85}\": 1.00 }";
        let shown = harmless_json(json);
        assert!(!shown.contains(|c| is_obeyed(c) && c != '\n'), "{shown}");
        let read = |json: &str| serde_json::from_str::<Value>(json).expect("JSON");
        assert_eq!(read(&shown), read(json));
        assert!(shown.contains("1.00"), "{shown}");
    }
}
