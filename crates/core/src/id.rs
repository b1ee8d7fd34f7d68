//! Identifiers: 128 bits, typed, and rendered with a prefix that names the type.
//!
//! The text form is the prefix and 22 letters and digits (base 62, so that a
//! double click selects all of it). It is canonical: one identifier has one text.

use core::{fmt, str::FromStr};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const DIGITS: usize = 22;

/// The text is not an identifier of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `{prefix}` and 22 letters and digits")]
pub struct ParseIdError {
    /// The prefix that the type wants.
    pub prefix: &'static str,
}

/// Renders 128 bits in base 62. By chunks of ten digits that fit into 64 bits: one
/// division of 128 bits costs as much as all those of 64 together.
pub(crate) fn encode(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const CHUNK: usize = 10;
    const RADIX: u128 = 62_u128.pow(CHUNK as u32);
    let mut digits = [0_u8; DIGITS];
    let mut rest = value;
    for chunk in digits.rchunks_mut(CHUNK) {
        let mut part = (rest % RADIX) as u64;
        rest /= RADIX;
        for digit in chunk.iter_mut().rev() {
            *digit = ALPHABET[(part % 62) as usize];
            part /= 62;
        }
    }
    f.write_str(core::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
}

/// Reads what [`encode`] wrote; `None` for anything else.
pub(crate) fn decode(text: &str) -> Option<u128> {
    if text.len() != DIGITS {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        value.checked_mul(62)?.checked_add(u128::from(digit))
    })
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Prefix of the text form.
            pub const PREFIX: &'static str = $prefix;

            /// The identifier with these bits.
            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// The bits of the identifier.
            #[must_use]
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// The bits as 16 bytes, big end first.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The identifier in 16 bytes; `None` if there are more or fewer.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Self::PREFIX)?;
                $crate::id::encode(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = $crate::id::ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(Self::PREFIX)
                    .and_then($crate::id::decode)
                    .map(Self)
                    .ok_or($crate::id::ParseIdError { prefix: Self::PREFIX })
            }
        }
    };
}
pub(crate) use identifier;

identifier! {
    /// A tenant: a customer organisation.
    TenantId, "ten_"
}
identifier! {
    /// A subscription. Its low 32 bits are its number, which queues and delivery
    /// ids use and which is unique within its tenant.
    SubscriptionId, "whsub_"
}
identifier! {
    /// An agent, kept over its restarts.
    AgentId, "agt_"
}
identifier! {
    /// An API key or pool token.
    KeyId, "key_"
}

identifier! {
    /// A user: a person of a tenant.
    UserId, "usr_"
}

impl TenantId {
    /// The platform itself: owner of the platform-wide pools.
    pub const PLATFORM: Self = Self(0);
}

/// A subscription's number within its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionNumber(pub u32);

impl SubscriptionId {
    /// The subscription's number.
    #[must_use]
    pub const fn number(self) -> SubscriptionNumber {
        #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are meant")]
        SubscriptionNumber(self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_canonical() {
        for bits in [0, 1, 61, 62, u128::MAX, 0x0123_4567_89ab_cdef] {
            let id = TenantId::from_bits(bits);
            assert_eq!(id.to_string().parse::<TenantId>(), Ok(id));
        }
        assert!(
            "ten_zzzzzzzzzzzzzzzzzzzzzz".parse::<TenantId>().is_err(),
            "above 128 bits"
        );
        assert!("whsub_0000000000000000000000".parse::<TenantId>().is_err());
        assert!("ten_000000000000000000000".parse::<TenantId>().is_err());
        assert!("ten_00000000000000000000é".parse::<TenantId>().is_err());
    }
}
