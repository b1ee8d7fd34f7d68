//! Times as each dialect writes them. All are in UTC.

use std::borrow::Cow;

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// What [`read`] takes, for people.
pub(crate) const EXPECTED: &str =
    "must be a time in UTC such as `2018-12-06T19:15:09.590432`, or one with its offset";

/// As Close writes it: `2018-12-06T19:15:09.590432`.
pub(crate) fn close(at: &prost_types::Timestamp) -> String {
    written(at, "%Y-%m-%dT%H:%M:%S%.6f")
}

/// As Collect writes it: `2022-07-13 15:01:38 UTC`.
pub(crate) fn collect(at: &prost_types::Timestamp) -> String {
    written(at, "%Y-%m-%d %H:%M:%S UTC")
}

/// As Hookshot writes it: `2020-09-11T14:04:44.053Z`.
pub(crate) fn hookshot(at: &prost_types::Timestamp) -> String {
    written(at, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// The text with the `+` of its offset, which comes as a blank if it was not escaped. The
/// other blank, between date and time, follows what has no time yet.
fn with_sign(text: &str) -> Cow<'_, str> {
    match text.rsplit_once(' ') {
        Some((time, offset)) if time.contains(':') => Cow::Owned(format!("{time}+{offset}")),
        _ => Cow::Borrowed(text),
    }
}

/// A time in UTC without its zone, a date, or a time with its offset; `None` for anything
/// else.
pub(crate) fn read(text: &str) -> Option<prost_types::Timestamp> {
    let text = &*with_sign(text.trim());
    let utc = |civil: DateTime| civil.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if text.contains(['[', 'Z', 'z']) {
        return None;
    } else if let Ok(civil) = text.parse::<DateTime>() {
        utc(civil)?
    } else {
        utc(text.parse::<Date>().ok()?.at(0, 0, 0, 0))?
    };
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    Some(prost_types::Timestamp { seconds, nanos })
}

/// The first second is what a moment outside all calendars is shown as: none that the
/// API answers is.
fn written(at: &prost_types::Timestamp, format: &str) -> String {
    let at = Timestamp::new(at.seconds, at.nanos).unwrap_or(Timestamp::UNIX_EPOCH);
    let civil = TimeZone::UTC.to_datetime(at);
    civil.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_dialect_has_its_format() {
        let at = read("2018-12-06T19:15:09.590432").expect("a time");
        assert_eq!(close(&at), "2018-12-06T19:15:09.590432");
        assert_eq!(collect(&at), "2018-12-06 19:15:09 UTC");
        assert_eq!(hookshot(&at), "2018-12-06T19:15:09.590Z");
        let whole = read("2018-12-06T19:15:09Z").expect("a time");
        assert_eq!(close(&whole), "2018-12-06T19:15:09.000000");
        assert_eq!(hookshot(&whole), "2018-12-06T19:15:09.000Z");
    }

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        let utc = read("2018-12-06T19:15:09");
        assert!(utc.is_some());
        for same in [
            "2018-12-06T20:15:09+01:00",
            "2018-12-06T20:15:09 01:00",
            "2018-12-06 20:15:09 01:00",
            "2018-12-06T19:15:09 00:00",
            "2018-12-06T16:15:09-03:00",
            "2018-12-06T19:15:09Z",
            "2018-12-06 19:15:09",
        ] {
            assert_eq!(read(same), utc, "{same}");
        }
        assert_eq!(read("2018-12-06"), read("2018-12-06T00:00:00"));
        assert_eq!(
            read("1969-12-31T23:59:59.25").map(|at| (at.seconds, at.nanos)),
            Some((-1, 250_000_000))
        );
        for wrong in [
            "",
            "now",
            "2018-13-06",
            "1544123709",
            "2018-12-06T25:00:00",
            "2018-12-06T19:15:09  01:00",
            "2018-12-06T19:15:09 soon",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in -62_135_596_800_i64..253_402_207_200, micros in 0..1_000_000) {
            let at = prost_types::Timestamp { seconds, nanos: micros * 1_000 };
            prop_assert_eq!(read(&close(&at)), Some(at));
        }

        #[test]
        fn no_moment_and_no_text_panics(seconds: i64, nanos: i32, text: String) {
            let at = prost_types::Timestamp { seconds, nanos };
            let _ = (close(&at), collect(&at), hookshot(&at), read(&text));
        }
    }
}
