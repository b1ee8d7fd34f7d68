//! Just enough of Rust's lexical grammar to tell code from comments and strings,
//! and test modules from the rest. A parser would be a large dependency for the
//! two questions asked here.

use std::ops::Range;

/// Lines of code: neither blank, nor only comment, nor in a `#[cfg(test)]` module.
pub(crate) fn code_lines(source: &str) -> usize {
    let blanked = blank(source);
    let tests = test_modules(&blanked);
    let mut offset = 0;
    let mut count = 0;
    for line in blanked.split_inclusive('\n') {
        let in_tests = tests.iter().any(|range| range.contains(&offset));
        if !in_tests && !line.trim().is_empty() {
            count += 1;
        }
        offset += line.len();
    }
    count
}

/// The source with comments turned into spaces and the insides of literals into
/// underscores, byte for byte: offsets and line ends stay where they are.
pub(crate) fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (end, filler) = token(bytes, at);
        for &byte in &bytes[at..end] {
            out.push(match filler {
                _ if byte.is_ascii_whitespace() => char::from(byte),
                Some(filler) => filler,
                None if byte.is_ascii() => char::from(byte),
                None => '_',
            });
        }
        at = end;
    }
    out
}

/// The end of the token at `at`, and what its bytes are replaced with. Anything
/// but comments and literals is a token of one byte, or one identifier.
fn token(bytes: &[u8], at: usize) -> (usize, Option<char>) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return (
            at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            Some(' '),
        );
    }
    if rest.starts_with(b"/*") {
        return (at + block_comment(rest), Some(' '));
    }
    if let Some(length) = raw_string(rest) {
        return (at + length, Some('_'));
    }
    match rest[0] {
        b'"' => (at + quoted(rest, b'"'), Some('_')),
        b'\'' if is_char_literal(rest) => (at + quoted(rest, b'\''), Some('_')),
        // Whole identifiers, so that no `r` in the middle of one opens a raw string;
        // a literal's prefix (`b"…"`) ends where its quote begins.
        byte if is_word(byte) => (
            at + rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len()),
            None,
        ),
        _ => (at + 1, None),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Length of the block comment (they nest) at the start of `rest`.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of the raw string (`r"…"`, `br#"…"#`, …) at the start of `rest`.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = prefix.len() + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = &rest[open + 1..];
    let inside = body.windows(close.len()).position(|window| window == close);
    Some(inside.map_or(rest.len(), |inside| open + 1 + inside + close.len()))
}

/// Length of the quoted literal at the start of `rest`, whose escapes begin with `\`.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Whether the quote at the start of `rest` opens a character and not a lifetime:
/// a lifetime has no closing quote right behind its first character.
fn is_char_literal(rest: &[u8]) -> bool {
    let Some(&first) = rest.get(1) else {
        return false;
    };
    let width = match first {
        b'\\' => return true,
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    rest.get(1 + width) == Some(&b'\'')
}

/// Byte ranges of the inline modules under `#[cfg(test)]`, attribute included.
fn test_modules(blanked: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (start, _) in blanked.match_indices("#[cfg(") {
        let condition = &blanked[start + "#[cfg(".len()..];
        if !(condition.starts_with("test)") || condition.starts_with("all(test,")) {
            continue;
        }
        if let Some(end) = inline_module_end(blanked, start) {
            // The rest of the attribute's own line goes too.
            let line = blanked[..start]
                .rfind('\n')
                .map_or(0, |newline| newline + 1);
            found.push(line..end);
        }
    }
    found
}

/// Where the inline module ends whose attributes begin at `start`; `None` if what
/// they stand on is no inline module.
fn inline_module_end(blanked: &str, start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = &blanked[at..];
        at += rest.len() - rest.trim_start().len();
        if !blanked[at..].starts_with("#[") {
            break;
        }
        at = matching(blanked, at + 1, b'[', b']')?;
    }
    let rest = &blanked[at..];
    let brace = rest.find('{')?;
    let head = &rest[..brace];
    let is_module = head.split_whitespace().rev().nth(1) == Some("mod") && !head.contains(';');
    if is_module {
        matching(blanked, at + brace, b'{', b'}')
    } else {
        None
    }
}

/// The offset behind the bracket that closes the one at `open_at`.
fn matching(blanked: &str, open_at: usize, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in blanked.bytes().enumerate().skip(open_at) {
        if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return Some(offset + 1);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = "let a = \"{ // no\"; // yes }\n/* { /* nested } */ */ let b = '{';\n";
        let blanked = blank(source);
        assert_eq!(blanked.len(), source.len());
        assert!(!blanked.contains(['{', '}']), "{blanked}");
        assert!(blanked.contains("let b ="), "{blanked}");
    }

    #[test]
    fn raw_strings_lifetimes_and_escapes_do_not_confuse() {
        let source =
            r####"fn f<'a>(x: &'a str) { g(r#"a " } "#, br"\", b'\'', '\'', 'é', "\"}"); }"####;
        let blanked = blank(source);
        assert_eq!(blanked.matches('}').count(), 1, "{blanked}");
        assert!(blanked.contains("fn f<'a>(x: &'a str)"), "{blanked}");
    }

    #[test]
    fn an_identifier_that_ends_in_r_opens_no_raw_string() {
        assert!(blank("for\"}\"").starts_with("for"));
        assert_eq!(blank("r#type;"), "r#type;");
    }

    #[test]
    fn blank_lines_and_comments_do_not_count() {
        assert_eq!(
            code_lines("//! Doc.\n\nfn f() {}\n    // why\n/* a\n b */\nfn g() {}\n"),
            2
        );
    }

    #[test]
    fn a_line_of_a_long_string_counts() {
        assert_eq!(code_lines("let a = \"x\n// not a comment\n\";\n"), 3);
    }

    #[test]
    fn an_inline_test_module_does_not_count() {
        let source = "fn f() {}\n#[cfg(test)]\n#[allow(x, reason = \"]\")]\npub(crate) mod tests {\n fn g() { \"}\"; }\n}\nfn h() {}\n";
        assert_eq!(code_lines(source), 2);
    }

    #[test]
    fn test_items_that_are_no_inline_modules_count() {
        assert_eq!(code_lines("#[cfg(test)]\nmod tests;\n\nfn f() {\n}\n"), 4);
        assert_eq!(code_lines("#[cfg(test)]\nfn helper() {\n}\n"), 3);
        assert_eq!(code_lines("#[cfg(unix)]\nmod unix {\n}\n"), 3);
    }
}
