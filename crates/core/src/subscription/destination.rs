//! Where requests go.
//!
//! The text is kept as given: it is what the user sees again. So it must mean the
//! same to every URL parser; whatever parsers read in different ways (backslashes,
//! blanks, missing slashes, user names) is refused instead of being cleaned up.

use core::{fmt, str::FromStr};

use url::Url;

use crate::limits::URL_BYTES;

/// An absolute http or https URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination(String);

/// Why a text is not a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Nothing was given.
    #[error("a URL is required, for example `https://example.com/hook`")]
    Empty,
    /// More than 2,048 bytes.
    #[error("at most 2048 bytes are allowed")]
    TooLong,
    /// A blank, a control character, a backslash or something beyond ASCII.
    #[error(
        "the character at position {position} is not allowed in a URL: encode it (`%XX`, or punycode in the host name)"
    )]
    Character {
        /// Byte offset, from 0.
        position: usize,
    },
    /// Another scheme, or none.
    #[error("must begin with `https://` or `http://`")]
    Scheme,
    /// A user name or password.
    #[error("a user name or password is not allowed: use a header")]
    UserInfo,
    /// A part after `#`.
    #[error("a fragment (`#…`) is not allowed: it is never sent")]
    Fragment,
    /// Port 0.
    #[error("port 0 is not allowed")]
    Port,
    /// The host is written otherwise than parsers of URLs read it: with encoded characters, or as a number.
    #[error("the host means `{meant}`: write it like that")]
    Host {
        /// The host as it is connected to.
        meant: String,
    },
    /// Not a URL for another reason.
    #[error("not a valid URL: {0}")]
    Invalid(url::ParseError),
}

impl Destination {
    /// A URL as a record keeps it. It is not checked: a rule that is tightened must not
    /// take subscriptions away that were made before it. Whoever connects reads it again.
    #[must_use]
    pub const fn kept(text: String) -> Self {
        Self(text)
    }

    /// The URL as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if text.is_empty() {
            return Err(DestinationError::Empty);
        }
        if text.len() > URL_BYTES {
            return Err(DestinationError::TooLong);
        }
        let foreign = |byte: u8| !byte.is_ascii_graphic() || byte == b'\\';
        if let Some(position) = text.bytes().position(foreign) {
            return Err(DestinationError::Character { position });
        }
        let (scheme, rest) = text.split_once("://").ok_or(DestinationError::Scheme)?;
        if !["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(DestinationError::Scheme);
        }
        if rest.contains('#') {
            return Err(DestinationError::Fragment);
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(DestinationError::UserInfo);
        }
        if authority.is_empty() {
            return Err(DestinationError::Invalid(url::ParseError::EmptyHost));
        }
        let url = Url::parse(text).map_err(DestinationError::Invalid)?;
        if url.port() == Some(0) {
            return Err(DestinationError::Port);
        }
        check_host(authority, &url)?;
        Ok(Self(text.to_owned()))
    }
}

/// The host that people and logs see must be the one that is connected to. Of an IPv6 address every spelling is that
/// address; of a name only the case may differ.
fn check_host(authority: &str, url: &Url) -> Result<(), DestinationError> {
    let meant = url.host_str().unwrap_or_default();
    let written = authority.split(':').next().unwrap_or_default();
    if authority.starts_with('[') || written.eq_ignore_ascii_case(meant) {
        return Ok(());
    }
    Err(DestinationError::Host {
        meant: meant.to_owned(),
    })
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_kept_as_given() {
        for text in [
            "https://example.com",
            "http://127.0.0.1:8080/a/b?c=d&e",
            "HTTPS://Example.com/Hook?to=a@b.c",
            "http://[::1]:99/",
            "http://[0:0::FFFF:127.0.0.1]/",
            "https://example.com.:443/",
            "https://XN--Bcher-KVA.example?a",
        ] {
            assert_eq!(text.parse::<Destination>().expect(text).as_str(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        use DestinationError as E;
        let host = |meant: &str| E::Host {
            meant: meant.to_owned(),
        };
        let long = format!("https://example.com/{}", "a".repeat(URL_BYTES));
        for (text, error) in [
            ("", E::Empty),
            (long.as_str(), E::TooLong),
            ("https://example.com/a b", E::Character { position: 21 }),
            ("https://exämple.com/", E::Character { position: 10 }),
            ("https:\\\\example.com/", E::Character { position: 6 }),
            ("https://example.com/\n", E::Character { position: 20 }),
            ("example.com", E::Scheme),
            ("http:example.com", E::Scheme),
            ("ftp://example.com", E::Scheme),
            ("javascript://example.com", E::Scheme),
            ("https://user@example.com/", E::UserInfo),
            ("https://:secret@example.com/", E::UserInfo),
            ("https://@example.com/", E::UserInfo),
            ("https://example.com/#top", E::Fragment),
            ("https://example.com:0/", E::Port),
            ("https:///path", E::Invalid(url::ParseError::EmptyHost)),
            ("http://2130706433/", host("127.0.0.1")),
            ("http://0x7f.1:80/", host("127.0.0.1")),
            ("http://127.1", host("127.0.0.1")),
            ("https://ex%61mple.com/", host("example.com")),
            (
                "https://example.com:99999/",
                E::Invalid(url::ParseError::InvalidPort),
            ),
        ] {
            assert_eq!(text.parse::<Destination>(), Err(error), "{text}");
        }
    }
}
