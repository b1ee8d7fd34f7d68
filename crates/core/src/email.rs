//! Addresses of electronic mail: those that any server takes, and nothing that could be
//! read as more than one address.
//!
//! An address goes into headers and commands of a mail server later, so what is allowed is
//! what needs no quoting there: letters, digits and the signs of an unquoted local part
//! ([RFC 5321], 4.1.2), a host name, and no byte beyond ASCII. Quoted local parts,
//! comments, literals of IP addresses and lists are refused though the standard knows
//! them: nobody's address needs them, and each is a way to say two things at once.
//!
//! [RFC 5321]: https://www.rfc-editor.org/rfc/rfc5321

use core::{fmt, str::FromStr};

/// Bytes of an address.
const BYTES: usize = 254;
/// Bytes before the `@`.
const LOCAL_BYTES: usize = 64;
/// Bytes of one part of a host name.
const LABEL_BYTES: usize = 63;

/// The text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one address such as `ada@example.com`: letters, digits and signs that need no \
     quotes, `@`, and a host name, at most 254 bytes"
)]
pub struct ParseEmailError;

/// An address of electronic mail, written as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// What a record keeps, unchecked: it was right by the rules of its day. Whoever mails
    /// to it parses it anew.
    #[must_use]
    pub const fn kept(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Email {
    type Err = ParseEmailError;

    fn from_str(text: &str) -> Result<Self, ParseEmailError> {
        let (local, host) = text.split_once('@').ok_or(ParseEmailError)?;
        let fits = text.len() <= BYTES && is_local(local) && is_host(host);
        fits.then(|| Self(text.to_owned())).ok_or(ParseEmailError)
    }
}

fn is_local(local: &str) -> bool {
    let is_sign = |byte| b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let is_atom = |atom: &str| {
        let mut bytes = atom.bytes();
        !atom.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || is_sign(byte))
    };
    local.len() <= LOCAL_BYTES && local.split('.').all(is_atom)
}

/// At least two labels, and the last one is no number: an IP address is no host name.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        (1..=LABEL_BYTES).contains(&label.len())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = |last: &str| last.bytes().any(|byte| byte.is_ascii_alphabetic());
    host.split('.').all(is_label) && host.rsplit_once('.').is_some_and(|(_, last)| is_name(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_addresses_are_taken_as_they_are() {
        let longest = format!("{}@{}.example", "a".repeat(64), "b".repeat(63));
        for text in [
            "ada@example.com",
            "Ada.Lovelace+webhooks@mail.example.co.uk",
            "o'brien@example.com",
            "x@1.example",
            "a@xn--bcher-kva.example",
            &longest,
        ] {
            let email: Email = text.parse().expect(text);
            assert_eq!(email.as_str(), text);
        }
    }

    #[test]
    fn what_could_be_more_than_one_address_or_a_header_is_refused() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_label = format!("a@{}.com", "b".repeat(64));
        let long = format!("a@{}example.com", "b.".repeat(130));
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "ada@@example.com",
            "ada@example.com\r\nBcc: all@example.com",
            "ada@example.com\n",
            "ada@exam\0ple.com",
            "ada@example.com,eve@example.com",
            "ada@example.com, eve@example.com",
            "ada@example.com;eve@example.com",
            "Ada <ada@example.com>",
            "\"ada lovelace\"@example.com",
            "ada(comment)@example.com",
            "ada lovelace@example.com",
            " ada@example.com",
            "ada@example.com ",
            ".ada@example.com",
            "ada.@example.com",
            "a..b@example.com",
            "ada@example..com",
            "ada@.example.com",
            "ada@example.com.",
            "ada@-example.com",
            "ada@example-.com",
            "ada@[127.0.0.1]",
            "ada@127.0.0.1",
            "ada@exämple.com",
            "adä@example.com",
            "ada\u{202e}@example.com",
            &long_local,
            &long_label,
            &long,
        ] {
            assert_eq!(text.parse::<Email>(), Err(ParseEmailError), "{text:?}");
        }
    }
}
