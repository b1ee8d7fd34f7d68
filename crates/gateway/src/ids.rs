//! Ids as UUIDs.
//!
//! Ours have 128 bits, and so has a UUID: the same id has two texts, and a dialect whose
//! clients expect UUIDs shows that one. Both are taken. The UUID has whatever version its
//! bits happen to say, which readers of UUIDs do not ask.

use core::str::FromStr;

use sidehook_core::{
    address::DeliveryId,
    id::{KeyId, SubscriptionId, TenantId, UserId},
};

/// Bytes of a UUID's text.
const LENGTH: usize = 36;
/// Where its dashes are.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The text of a UUID with these bits.
pub(crate) fn uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    let (a, b, c) = (&hex[..8], &hex[8..12], &hex[12..16]);
    format!("{a}-{b}-{c}-{}-{}", &hex[16..20], &hex[20..])
}

/// The bits of a UUID; `None` if the text is none.
fn read_uuid(text: &str) -> Option<u128> {
    if text.len() != LENGTH {
        return None;
    }
    let mut bits = 0_u128;
    for (at, byte) in text.bytes().enumerate() {
        if DASHES.contains(&at) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = char::from(byte).to_digit(16)?;
        bits = (bits << 4) | u128::from(digit);
    }
    Some(bits)
}

/// An id in either of its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Either<T>(pub(crate) T);

macro_rules! either {
    ($($id:ident),+) => {$(
        impl FromStr for Either<$id> {
            type Err = <$id as FromStr>::Err;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match read_uuid(text) {
                    Some(bits) => Ok(Self($id::from_bits(bits))),
                    None => text.parse().map(Self),
                }
            }
        }
    )+};
}
either!(SubscriptionId, DeliveryId);

/// The id that stands in `text` as a UUID. What is no id of ours, as the name that a
/// token has for its bearer, is shown as it is.
pub(crate) fn shown(text: &str) -> String {
    let bits = [
        text.parse().ok().map(SubscriptionId::bits),
        text.parse().ok().map(TenantId::bits),
        text.parse().ok().map(KeyId::bits),
        text.parse().ok().map(UserId::bits),
    ];
    let mut found = bits.into_iter().flatten();
    found.next().map_or_else(|| text.to_owned(), uuid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_texts_are_the_same_id() {
        let id = SubscriptionId::from_bits(0x6c22_9132_a29e_4b83_9f35_e532_e7de_28a4);
        assert_eq!(uuid(id.bits()), "6c229132-a29e-4b83-9f35-e532e7de28a4");
        for text in [
            id.to_string(),
            uuid(id.bits()),
            uuid(id.bits()).to_uppercase(),
        ] {
            assert_eq!(text.parse(), Ok(Either(id)), "{text}");
        }
        assert_eq!(shown(&id.to_string()), uuid(id.bits()));
        assert_eq!(shown("alice@example.com"), "alice@example.com");
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "6c229132a29e4b839f35e532e7de28a4",
            "6c229132-a29e-4b83-9f35-e532e7de28ag",
            "6c229132-a29e-4b83-9f35+e532e7de28a4",
            "+c229132-a29e-4b83-9f35-e532e7de28a4",
            "{6c229132-a29e-4b83-9f35-e532e7de28a}",
            "ten_0000000000000000000000",
        ] {
            assert!(text.parse::<Either<SubscriptionId>>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bits: u128) {
            prop_assert_eq!(read_uuid(&uuid(bits)), Some(bits));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = (read_uuid(&text), shown(&text));
        }
    }
}
