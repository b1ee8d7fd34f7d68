//! Comparing numbers exactly.
//!
//! JSON numbers are decimal texts. Turned into floating point, identifiers above 2⁵³ would become equal to their
//! neighbours, and `0.1` to much that it is not. So two numbers are compared as decimals: `1`, `1.0` and `10e-1` are
//! the same, `9007199254740993` and `9007199254740992` are not, and `-0` is `0`. Only exponents of more than 18
//! digits are taken for the largest, or the smallest, that there is.

/// 0.d₁d₂d₃… × 10^`exponent`: d₁ and the last digit are not 0; no digits at all are zero.
#[derive(Debug)]
struct Decimal<'a> {
    negative: bool,
    /// The digits are these, then those.
    digits: (&'a [u8], &'a [u8]),
    exponent: i64,
}

/// Beyond every exponent that is compared exactly.
const EXPONENT_MAX: i64 = 1_000_000_000_000_000_000;

/// Whether two numbers of JSON text are the same.
pub(super) fn is_same(a: &[u8], b: &[u8]) -> bool {
    a == b || Decimal::read(a).is(&Decimal::read(b))
}

/// The same, where both are written in the plainest form of all: integers without sign, point and exponent are the same
/// if their texts are. `None`: it is not that easy.
pub(super) fn is_plainly_same(a: &[u8], b: &[u8]) -> Option<bool> {
    let plain = |text: &[u8]| {
        text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || text.first() != Some(&b'0'))
    };
    (plain(a) && plain(b)).then(|| a == b)
}

impl<'a> Decimal<'a> {
    fn read(text: &'a [u8]) -> Self {
        let (negative, text) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = split(text, |byte| matches!(byte, b'e' | b'E'));
        let (whole, fraction) = split(mantissa, |byte| byte == b'.');
        let mut whole = trim_start(whole);
        let mut fraction = trim_end(fraction);
        let point = if whole.is_empty() {
            let digits = trim_start(fraction);
            let zeros = fraction.len() - digits.len();
            fraction = digits;
            -length(zeros)
        } else {
            length(whole.len())
        };
        if fraction.is_empty() {
            whole = trim_end(whole);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Self {
                negative: false,
                digits: (&[], &[]),
                exponent: 0,
            };
        }
        Self {
            negative,
            digits: (whole, fraction),
            exponent: read_exponent(exponent).saturating_add(point),
        }
    }

    fn is(&self, other: &Decimal<'_>) -> bool {
        self.negative == other.negative
            && self.exponent == other.exponent
            && self.digits().eq(other.digits())
    }

    fn digits(&self) -> impl Iterator<Item = &'a u8> {
        self.digits.0.iter().chain(self.digits.1)
    }
}

/// What stands before and behind the first byte that `is`; nothing behind if there is none.
fn split(text: &[u8], is: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| is(*byte)) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0');
    &digits[..digits.len() - zeros.count()]
}

fn length(digits: usize) -> i64 {
    i64::try_from(digits).unwrap_or(EXPONENT_MAX)
}

fn read_exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let add = |sum: i64, digit: &u8| {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        sum.saturating_mul(10)
            .saturating_add(digit)
            .min(EXPONENT_MAX)
    };
    let exponent = digits.iter().fold(0, add);
    if negative { -exponent } else { exponent }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_number_in_many_forms() {
        for forms in [
            &["0", "-0", "0.0", "0e5", "-0.000E-7"][..],
            &["1", "1.0", "10e-1", "0.1e1", "1E+0", "1.000e00"],
            &["-150", "-1.5e2", "-150.0", "-1500e-1"],
            &["0.00123", "123e-5", "1.23E-3", "0.001230"],
            &["9007199254740993", "9007199254740993.0"],
            &["1e400", "10e399"],
        ] {
            for (a, b) in forms.iter().flat_map(|a| forms.iter().map(move |b| (a, b))) {
                assert!(is_same(a.as_bytes(), b.as_bytes()), "{a} is {b}");
                let plainly = is_plainly_same(a.as_bytes(), b.as_bytes());
                assert_ne!(plainly, Some(false), "{a} is {b}");
            }
        }
    }

    #[test]
    fn neighbours_are_not_the_same() {
        for (a, b) in [
            ("1", "-1"),
            ("1", "10"),
            ("0.1", "0.01"),
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551616", "18446744073709551617"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("1e400", "1e401"),
            ("101", "1001"),
        ] {
            assert!(!is_same(a.as_bytes(), b.as_bytes()), "{a} is not {b}");
        }
    }

    proptest! {
        /// Written out in full, without point and exponent, numbers are the same if their texts are.
        #[test]
        fn it_agrees_with_writing_them_out(
            a in (0_u32..2_000, -3_i32..4), b in (0_u32..2_000, -3_i32..4), forms in any::<[bool; 2]>(),
        ) {
            let written_out = |(digits, exponent): (u32, i32)| u64::from(digits) * 10_u64.pow((exponent + 3) as u32);
            let text = |(digits, exponent): (u32, i32), pointed: bool| match (pointed, exponent) {
                (true, ..0) => {
                    let wide = format!("{digits:04}");
                    let (whole, fraction) = wide.split_at(wide.len() - exponent.unsigned_abs() as usize);
                    format!("{whole}.{fraction}")
                }
                (true, _) => format!("{digits}{}.0", "0".repeat(exponent as usize)),
                (false, _) => format!("{digits}e{exponent}"),
            };
            let (left, right) = (text(a, forms[0]), text(b, forms[1]));
            prop_assert_eq!(
                is_same(left.as_bytes(), right.as_bytes()),
                written_out(a) == written_out(b),
                "{} {}", left, right
            );
        }

        #[test]
        fn the_plainest_form_decides_alike(a in "0|[1-9][0-9]{0,2}|-?0[.e]?[0-9]?", b in "[0-9]|[1-9][0-9]?") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            if let Some(same) = is_plainly_same(a, b) {
                prop_assert_eq!(same, is_same(a, b));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(a in "[-+.eE0-9]{0,40}", b in "[-+.eE0-9]{0,40}") {
            prop_assert_eq!(is_same(a.as_bytes(), b.as_bytes()), is_same(b.as_bytes(), a.as_bytes()));
        }
    }
}
