//! Texts as values of headers, which are visible ASCII: the rest is percent-encoded, in UTF-8.

use http::HeaderValue;

/// What of visible ASCII stays as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spare {
    /// All of it.
    Everything,
    /// All but `"` and `%`, which CloudEvents encode too: then it can be decoded.
    Nothing,
}

/// `text` as a header's value.
pub(super) fn visible(text: &str, spare: Spare) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let stays = |byte: u8| {
        byte.is_ascii_graphic() && (spare == Spare::Everything || !matches!(byte, b'"' | b'%'))
    };
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if stays(byte) {
            out.push(byte);
        } else {
            let hex = |digit: u8| HEX[usize::from(digit)];
            out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    // Visible ASCII alone: it is a value.
    HeaderValue::try_from(out).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(value: &HeaderValue) -> Option<String> {
        let mut rest = value.to_str().ok()?.bytes();
        let mut out = Vec::new();
        while let Some(byte) = rest.next() {
            out.push(match byte {
                b'%' => {
                    let hex = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
                }
                byte => byte,
            });
        }
        String::from_utf8(out).ok()
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_back(text in ".*") {
            let value = visible(&text, Spare::Nothing);
            let ascii = value.as_bytes().iter().all(u8::is_ascii_graphic);
            proptest::prop_assert!(ascii && !value.as_bytes().contains(&b'"'));
            proptest::prop_assert_eq!(decoded(&value), Some(text));
        }

        #[test]
        fn words_stay_as_they_are(text in "[!-~]{1,200}") {
            let value = visible(&text, Spare::Everything);
            proptest::prop_assert_eq!(value.as_bytes(), text.as_bytes());
        }
    }
}
