//! Reading JSON text piece by piece, over borrowed bytes.
//!
//! A general parser builds what it reads, or skips it in the same grammar as it would read it. Filters ask for a few
//! fields of payloads that were checked when they were published; so this one trusts the grammar, and skips what is
//! not asked for by counting brackets: without recursion, whatever the nesting. Bytes that are no JSON give an error
//! or some reading, but never a panic and never a step outside of the text.
//!
//! Text is bytes here: JSON can escape one half of a surrogate pair (`"\ud83d"`), which has no UTF-8. It is kept in
//! the three bytes that UTF-8 would use if it allowed it, so that such a text is equal to nothing that can be asked
//! for, and what stands around the half is still found in it.

use std::borrow::Cow;

/// Something that is not JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {at}")]
pub struct Malformed {
    /// Byte offset in the text, from 0.
    pub at: usize,
}

/// A place in JSON text.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes lie behind.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// What is wrong at this place.
    pub(super) fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }

    /// The first byte of the next token.
    pub(super) fn peek(&mut self) -> Result<u8, Malformed> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(self.malformed())
    }

    /// Steps over `byte`, which must be the next token.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek()? != byte {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but blanks may follow.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Ok(_) => Err(self.malformed()),
            Err(_) => Ok(()),
        }
    }

    /// Whether an array or object goes on; steps over the comma, or over `close`. `first` is true before its first
    /// item, and is false then.
    pub(super) fn more(&mut self, first: &mut bool, close: u8) -> Result<bool, Malformed> {
        let was_first = core::mem::take(first);
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            b',' if !was_first => {
                self.at += 1;
                Ok(true)
            }
            _ if was_first => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    /// An object's next key, and steps over its colon.
    pub(super) fn key(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    /// A string: its text without quotes and escapes, borrowed if it has none.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        let from = self.at;
        let (text, escaped) = self.quoted()?;
        if !escaped {
            return Ok(Cow::Borrowed(text));
        }
        unescape(text).map(Cow::Owned).ok_or(Malformed { at: from })
    }

    /// A number's text, as it is.
    pub(super) fn number(&mut self) -> Result<&'a [u8], Malformed> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| of_number(byte)).count();
        if length == 0 {
            return Err(self.malformed());
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// Steps over `true`, `false` or `null`, whichever `word` is.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Malformed> {
        self.peek()?;
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over a value, and gives its text.
    pub(super) fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let first = self.peek()?;
        let from = self.at;
        match first {
            b'"' => {
                self.quoted()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => {
                self.number()?;
            }
        }
        Ok(&self.text[from..self.at])
    }

    fn skip_nested(&mut self) -> Result<(), Malformed> {
        let mut open = 0_usize;
        loop {
            let rest = &self.text[self.at..];
            let mark = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']');
            let Some(ahead) = rest.iter().position(mark) else {
                self.at = self.text.len();
                return Err(self.malformed());
            };
            self.at += ahead;
            match rest[ahead] {
                b'"' => {
                    self.quoted()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                _ => open -= 1,
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// What stands between the quotes, and whether there is a backslash in it.
    fn quoted(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        self.expect(b'"')?;
        let from = self.at;
        let mut escaped = false;
        loop {
            let rest = &self.text[self.at..];
            let Some(ahead) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                self.at = self.text.len();
                return Err(self.malformed());
            };
            self.at += ahead + 1;
            if rest[ahead] == b'"' {
                return Ok((&self.text[from..self.at - 1], escaped));
            }
            escaped = true;
            if self.at >= self.text.len() {
                return Err(self.malformed());
            }
            self.at += 1;
        }
    }
}

/// A string's text; `None` if an escape is none.
fn unescape(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(ahead) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..ahead]);
        let escape = *rest.get(ahead + 1)?;
        rest = &rest[ahead + 2..];
        let byte = match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (code, after) = code_point(rest)?;
                push(&mut out, code);
                rest = after;
                continue;
            }
            _ => return None,
        };
        out.push(byte);
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The code point of the four digits that `rest` begins with, and of a second escape if both are a pair; and what
/// follows.
fn code_point(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (high, after) = hex4(rest)?;
    if (0xd800..0xdc00).contains(&high)
        && let Some(second) = after.strip_prefix(b"\\u")
        && let Some((low, after)) = hex4(second)
        && (0xdc00..0xe000).contains(&low)
    {
        let pair = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return Some((pair, after));
    }
    Some((high, after))
}

fn hex4(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = rest.split_at_checked(4)?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let code = digits
        .iter()
        .try_fold(0, |code, byte| Some(code * 16 + digit(byte)?))?;
    Some((code, after))
}

fn push(out: &mut Vec<u8>, code: u32) {
    if let Some(char) = char::from_u32(code) {
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        // Half a pair: below 0x1_0000, three bytes.
        let tail = |shift: u32| 0x80 | ((code >> shift) & 0x3f) as u8;
        out.extend_from_slice(&[0xe0 | ((code >> 12) & 0x0f) as u8, tail(6), tail(0)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (json, text) in [
            (r#""""#, &b""[..]),
            (r#""plain""#, b"plain"),
            (r#""\"\\\/\b\f\n\r\t""#, b"\"\\/\x08\x0c\n\r\t"),
            (r#""\u0041\u00e9\u65e5""#, "Aé日".as_bytes()),
            (r#""\ud83e\udD80!""#, "🦀!".as_bytes()),
            (r#""\ud83ex""#, b"\xed\xa0\xbex"),
            (
                r#""\udd80\ud83e\ud83e""#,
                b"\xed\xb6\x80\xed\xa0\xbe\xed\xa0\xbe",
            ),
        ] {
            let read = Scanner::new(json.as_bytes()).string();
            assert_eq!(read.as_deref(), Ok(text), "{json}");
        }
        for json in [r#""\x""#, r#""\u12""#, r#""\u12g4""#, r#""a"#, r#""a\"#] {
            assert!(Scanner::new(json.as_bytes()).string().is_err(), "{json}");
        }
    }

    #[test]
    fn any_nesting_is_skipped() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        let mut scanner = Scanner::new(deep.as_bytes());
        assert_eq!(scanner.skip(), Ok(deep.as_bytes()));
        assert_eq!(scanner.end(), Ok(()));
        assert!(Scanner::new(&deep.as_bytes()[..700_000]).skip().is_err());
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        for json in [
            r#"{"a]}":["}\"",{}]}"#,
            "-1.5e+7",
            "true",
            r#""a\"b""#,
            "null",
        ] {
            let text = format!(" \n{json}\t, 1");
            let mut scanner = Scanner::new(text.as_bytes());
            assert_eq!(scanner.skip(), Ok(json.as_bytes()));
            assert_eq!(scanner.peek(), Ok(b','));
        }
    }

    proptest! {
        #[test]
        fn strings_are_read_as_another_parser_reads_them(text in ".*") {
            let json = serde_json::Value::from(text.clone()).to_string();
            let read = Scanner::new(json.as_bytes()).string();
            prop_assert_eq!(read.as_deref(), Ok(text.as_bytes()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Scanner::new(&bytes).skip();
            let _ = Scanner::new(&bytes).string();
        }
    }
}
