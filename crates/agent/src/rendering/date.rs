//! When an event happened and when it was accepted, as text.

use std::fmt::Write as _;

use sidehook_api::v1;
use sidehook_core::address::EventId;

/// Seconds of the day.
const DAY_S: i64 = 86_400;

/// When it happened, or was accepted: `2018-12-06T19:15:09.590432`, UTC without zone.
pub(super) fn occurred(event: &v1::Event) -> String {
    match event.occurred_at {
        Some(at) => date(at.seconds, at.nanos),
        None => accepted(event),
    }
}

/// When it was accepted, which its id says too: as [`occurred`].
pub(super) fn accepted(event: &v1::Event) -> String {
    match event.accepted_at {
        Some(at) => date(at.seconds, at.nanos),
        None => named(&event.id),
    }
}

/// The time that is in an event's id; the first second if the text is none.
fn named(id: &str) -> String {
    let ms = id.parse::<EventId>().map_or(0, |id| id.time().as_millis());
    let nanos = ms.rem_euclid(1_000) * 1_000_000;
    date(
        ms.div_euclid(1_000),
        i32::try_from(nanos).unwrap_or_default(),
    )
}

/// `2018-12-06T19:15:09.590432`: UTC without zone, microseconds. Years outside 1 to 9999 do not pass validation.
fn date(seconds: i64, nanos: i32) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY_S));
    let second = seconds.rem_euclid(DAY_S);
    let micros = nanos.clamp(0, 999_999_999) / 1_000;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = String::with_capacity(26);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}"
    );
    text
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last, in eras of 400 years (146,097 days).
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        for (seconds, expected) in [
            (-62_135_596_800, "0001-01-01T00:00:00.000000"),
            (-1, "1969-12-31T23:59:59.000000"),
            (951_782_400, "2000-02-29T00:00:00.000000"),
            (1_709_164_800, "2024-02-29T00:00:00.000000"),
            (1_709_251_199, "2024-02-29T23:59:59.000000"),
            (4_107_542_400, "2100-03-01T00:00:00.000000"),
            (253_402_300_799, "9999-12-31T23:59:59.000000"),
        ] {
            assert_eq!(date(seconds, 0), expected);
        }
    }
}
