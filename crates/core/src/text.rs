//! Free text: names, descriptions and references that people chose and others read.
//!
//! It is shown in tables, logs and other people's terminals. So one rule holds for all of it: no control characters
//! and no separators of lines or paragraphs, which break out of a line, and none of the characters that lay out what
//! follows in another order (Unicode's embeddings, overrides and isolates), which make a text look like another one.
//! The marks U+061C, U+200E and U+200F are allowed: they only place signs beside them, and whoever writes from right
//! to left needs them.

use crate::violation::Violations;

/// Whether `text` has only characters that stand in one line, in the order in which they are written.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// Notes what is wrong with the free text of `field`, which may have at most `max` bytes.
pub fn check_text(violations: &mut Violations, field: impl Fn() -> String, text: &str, max: usize) {
    if text.len() > max {
        violations.add(field(), format!("at most {max} bytes are allowed"));
    }
    if !is_plain(text) {
        violations.add(
            field(),
            "control characters are not allowed, nor characters that change the direction of writing",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_line_or_turns_it_around_is_not_plain() {
        for text in [
            "a\nb",
            "\x1b]0;title\x07",
            "\x7f",
            "\u{9b}2J",
            "a\u{2028}b",
            "a\u{2029}b",
            "\u{202a}",
            "invoice\u{202e}fdp.exe",
            "\u{2066}",
            "\u{2069}",
        ] {
            assert!(!is_plain(text), "{text:?}");
        }
        for text in ["", "plain, größer, 東京", "שלום\u{200f}!", "\u{1f980}"] {
            assert!(is_plain(text), "{text:?}");
        }
    }

    #[test]
    fn length_and_characters_are_told() {
        let mut violations = Violations::new();
        check_text(&mut violations, || "a".to_owned(), "12345", 5);
        assert!(violations.is_empty());
        check_text(&mut violations, || "b".to_owned(), "12345\n", 5);
        assert_eq!(violations.as_slice().len(), 2);
        assert_eq!(violations.as_slice()[0].field, "b");
    }
}
