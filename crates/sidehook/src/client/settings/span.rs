//! Spans of time as people write them.

use std::time::Duration;

use jiff::SignedDuration;
use sidehook_runtime::config::Setting as _;

/// A span: `500ms`, `5s`, `1h30m`, `30d`, as the server's settings have it, or `1h 30m`,
/// as this program shows it. A day has 24 hours.
///
/// # Errors
/// What would be right.
pub(crate) fn span(text: &str) -> Result<prost_types::Duration, String> {
    let together: String = text.split_whitespace().collect();
    let span = Duration::from_text(&together)
        .and_then(|span| SignedDuration::try_from(span).ok())
        .or_else(|| text.parse().ok())
        .ok_or("no span, for example `500ms`, `1h30m` or `30d`")?;
    Ok(prost_types::Duration {
        seconds: span.as_secs(),
        nanos: span.subsec_nanos(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_people_write_them() {
        let of = |text: &str| span(text).map(|span| (span.seconds, span.nanos));
        assert_eq!(of("500ms"), Ok((0, 500_000_000)));
        for text in ["1h 30m", "1h30m", "90m", "PT1H30M"] {
            assert_eq!(of(text), Ok((5_400, 0)), "{text}");
        }
        assert_eq!(of("30d"), Ok((30 * 86_400, 0)));
        for wrong in ["soon", "", "5", "99999999999999999999d"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
