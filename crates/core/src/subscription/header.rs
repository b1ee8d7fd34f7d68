//! Static request headers.
//!
//! Names keep their spelling and are compared without regard to case. What frames
//! or routes a request, or proves where it is from, is Sidehook's own.

use core::str::FromStr;

use crate::limits::{HEADER_NAME_BYTES, HEADER_VALUE_BYTES};

/// A header of every request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StaticHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

/// Names that Sidehook or HTTP itself sets, in lower case. The one table of them: static headers and the header of a
/// plain HMAC pass through [`HeaderName`], in the API and again in the agent that is sent them.
const RESERVED: [&str; 20] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];
/// Families of names that carry signatures and ids, in lower case.
const RESERVED_PREFIXES: [&str; 3] = ["webhook-", "close-sig-", "sidehook-"];

/// A header name that a subscription may choose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName(String);

/// Why a header name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderNameError {
    /// Empty or longer than 100 bytes.
    #[error("must have 1 to 100 bytes")]
    Length,
    /// A character that no header name has.
    #[error("the character at position {position} is not allowed in a header name")]
    Character {
        /// Byte offset, from 0.
        position: usize,
    },
    /// Sidehook sets this header.
    #[error("Sidehook or HTTP itself sets this header: choose another name")]
    Reserved,
}

impl HeaderName {
    /// A name as a record keeps it, unchecked. What no request can carry the HTTP
    /// library refuses where the request is made.
    #[must_use]
    pub const fn kept(text: String) -> Self {
        Self(text)
    }

    /// Whether Sidehook or HTTP itself sets this header. One that was kept from before
    /// it was reserved is not sent.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let lower = self.0.to_ascii_lowercase();
        RESERVED.contains(&lower.as_str())
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| lower.starts_with(prefix))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` is the same header.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

impl FromStr for HeaderName {
    type Err = HeaderNameError;

    fn from_str(text: &str) -> Result<Self, HeaderNameError> {
        if !(1..=HEADER_NAME_BYTES).contains(&text.len()) {
            return Err(HeaderNameError::Length);
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if let Some(position) = text.bytes().position(|byte| !token(byte)) {
            return Err(HeaderNameError::Character { position });
        }
        let name = Self(text.to_owned());
        if name.is_reserved() {
            return Err(HeaderNameError::Reserved);
        }
        Ok(name)
    }
}

/// A header value: visible ASCII and inner spaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderValue(String);

/// Why a header value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderValueError {
    /// Longer than 1,024 bytes.
    #[error("at most 1024 bytes are allowed")]
    TooLong,
    /// A control character (a line break, for instance) or something beyond ASCII.
    #[error(
        "the character at position {position} is not allowed: only visible ASCII and spaces are"
    )]
    Character {
        /// Byte offset, from 0.
        position: usize,
    },
    /// A space that HTTP would cut off.
    #[error("must not begin or end with a space")]
    OuterSpace,
}

impl HeaderValue {
    /// A value as a record keeps it, unchecked, as [`HeaderName::kept`].
    #[must_use]
    pub const fn kept(text: String) -> Self {
        Self(text)
    }

    /// The value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderValue {
    type Err = HeaderValueError;

    fn from_str(text: &str) -> Result<Self, HeaderValueError> {
        if text.len() > HEADER_VALUE_BYTES {
            return Err(HeaderValueError::TooLong);
        }
        let foreign = |byte: u8| !(byte.is_ascii_graphic() || byte == b' ');
        if let Some(position) = text.bytes().position(foreign) {
            return Err(HeaderValueError::Character { position });
        }
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(HeaderValueError::OuterSpace);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_that_sidehook_does_not_set() {
        for (text, error) in [
            ("", HeaderNameError::Length),
            (&*"x".repeat(101), HeaderNameError::Length),
            ("X Token", HeaderNameError::Character { position: 1 }),
            ("X-Token:", HeaderNameError::Character { position: 7 }),
            ("X\r\n", HeaderNameError::Character { position: 1 }),
            ("Host", HeaderNameError::Reserved),
            ("Webhook-Signature", HeaderNameError::Reserved),
            ("close-sig-hash", HeaderNameError::Reserved),
            ("Transfer-Encoding", HeaderNameError::Reserved),
        ] {
            assert_eq!(text.parse::<HeaderName>(), Err(error), "{text}");
        }
        for framing in RESERVED {
            let upper = framing.to_ascii_uppercase();
            assert_eq!(upper.parse::<HeaderName>(), Err(HeaderNameError::Reserved));
        }
        let name: HeaderName = "X-Secret-Token".parse().expect("a fine name");
        assert!(name.is("x-secret-token"));
        assert_eq!(name.as_str(), "X-Secret-Token");
        assert!("Authorization".parse::<HeaderName>().is_ok());
    }

    #[test]
    fn values_have_no_line_breaks() {
        for (text, error) in [
            ("a\r\nB: c", HeaderValueError::Character { position: 1 }),
            ("tab\t", HeaderValueError::Character { position: 3 }),
            ("é", HeaderValueError::Character { position: 0 }),
            (" a", HeaderValueError::OuterSpace),
            ("a ", HeaderValueError::OuterSpace),
            (&*"x".repeat(1_025), HeaderValueError::TooLong),
        ] {
            assert_eq!(text.parse::<HeaderValue>(), Err(error), "{text:?}");
        }
        assert!("Bearer abc".parse::<HeaderValue>().is_ok());
        assert!("".parse::<HeaderValue>().is_ok());
    }
}
