//! The types a setting can have, and how each is written.
//!
//! Quantities carry their unit in the text (`"30s"`, `"256KiB"`), so that no reader of a file has to know whether a
//! bare `30` meant seconds. Environment and flags bring only text; a file may use TOML's own integers and arrays.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use toml::Value;

/// A type that a configuration value can be parsed into.
pub trait Setting: Sized {
    /// What would be right, as the end of "expected …".
    const RIGHT: &'static str;
    /// Whether the value must never be repeated in a message.
    const SECRET: bool = false;

    /// Parses text; `None` if it is not of this type.
    fn from_text(text: &str) -> Option<Self>;

    /// Parses a TOML value; by default only text.
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }
}

/// A number of bytes, written `512B`, `256KiB`, `4MiB` or `1GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1,024 bytes.
    #[must_use]
    pub const fn kib(kib: u32) -> Self {
        Self(kib as u64 * 1_024)
    }

    /// So many times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(mib: u32) -> Self {
        Self(mib as u64 * 1_048_576)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index type; the largest one if it does not fit.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const BYTE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: u64| self.0 >= factor && self.0.is_multiple_of(factor);
        let unit = BYTE_UNITS.into_iter().find(|(_, factor)| fits(*factor));
        let (unit, factor) = unit.unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Setting for ByteSize {
    const RIGHT: &'static str = "a size with a unit, such as 512B, 256KiB or 4MiB";

    fn from_text(text: &str) -> Option<Self> {
        let units = BYTE_UNITS.into_iter();
        let (digits, factor) = units
            .into_iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
        integer(digits)?.checked_mul(factor).map(Self)
    }
}

impl Setting for Duration {
    const RIGHT: &'static str = "a time with a unit, such as 250ms, 30s, 2m or 1h30m";

    fn from_text(mut text: &str) -> Option<Self> {
        let mut total = Self::ZERO;
        loop {
            let digits = text.find(|c: char| !c.is_ascii_digit())?;
            let (amount, rest) = text.split_at(digits);
            let end = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (unit, rest) = rest.split_at(end);
            let unit_ms: u64 = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            let part = integer(amount)?.checked_mul(unit_ms)?;
            total = total.checked_add(Self::from_millis(part))?;
            if rest.is_empty() {
                return Some(total);
            }
            text = rest;
        }
    }
}

/// Decimal digits only: `str::parse` would also take a sign.
fn integer(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const RIGHT: &'static str = concat!("a whole number from 0 to the largest ", stringify!($type));

            fn from_text(text: &str) -> Option<Self> {
                integer(text)?.try_into().ok()
            }

            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(number) => (*number).try_into().ok(),
                    other => Self::from_text(other.as_str()?),
                }
            }
        }
    )*};
}

integers!(u16, u32, u64, usize);

impl Setting for bool {
    const RIGHT: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool().or_else(|| Self::from_text(value.as_str()?))
    }
}

impl Setting for String {
    const RIGHT: &'static str = "text that is not empty";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }
}

impl Setting for PathBuf {
    const RIGHT: &'static str = "the path of a file or directory";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }
}

impl Setting for SocketAddr {
    const RIGHT: &'static str = "an address and port, such as 127.0.0.1:8701 or [::]:8701";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Setting for SecretString {
    const RIGHT: &'static str = "text that is not empty";
    const SECRET: bool = true;

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }
}

/// In a file an array; in the environment and in flags separated by commas.
impl<T: Setting> Setting for Vec<T> {
    const RIGHT: &'static str = T::RIGHT;
    const SECRET: bool = T::SECRET;

    fn from_text(text: &str) -> Option<Self> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts.map(T::from_text).collect()
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Array(items) => items.iter().map(T::from_value).collect(),
            other => Self::from_text(other.as_str()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_need_a_unit_and_do_not_overflow() {
        let ms = |text| Duration::from_text(text).map(|time| time.as_millis());
        assert_eq!(ms("250ms"), Some(250));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("0s"), Some(0));
        for wrong in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5sec",
            "99999999999999999d",
            "1h30",
        ] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_are_exact() {
        assert_eq!(u16::from_value(&Value::Integer(70_000)), None);
        assert_eq!(u32::from_value(&Value::Integer(-1)), None);
        assert_eq!(u16::from_value(&Value::String("80".into())), Some(80));
        assert_eq!(u16::from_text("+80"), None);
        assert_eq!(Vec::<u16>::from_text("1, 2,"), Some(vec![1, 2]));
    }

    proptest! {
        #[test]
        fn sizes_round_trip(bytes in any::<u64>(), shift in 0_u32..40) {
            let size = ByteSize::from_bytes(bytes >> shift << shift);
            prop_assert_eq!(ByteSize::from_text(&format!("{size:?}")), Some(size));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,20}") {
            let _ = (Duration::from_text(&text), ByteSize::from_text(&text), Vec::<bool>::from_text(&text));
        }
    }
}
