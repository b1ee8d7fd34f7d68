//! What is read of a response: status, the first 16 KiB, Retry-After, and for how long the connection may rest.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use sidehook_core::limits::{RESPONSE_BYTES, RETRY_AFTER_MAX};

use super::connection::Connection;
use super::failure::Failure;

/// A response, as far as it is kept.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) retry_after_s: Option<u32>,
    /// Whether the body was read to its end, so that the connection can be used again.
    pub(super) is_complete: bool,
    /// How long the receiver keeps an idle connection, if it says so.
    pub(super) keep_alive: Option<Duration>,
}

/// Reads the response that arrives on `connection`.
pub(super) async fn read(
    connection: &mut Connection,
    response: http::Response<Incoming>,
) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let retry_after_s = matches!(status, 429 | 503)
        .then(|| retry_after_s(response.headers().get(RETRY_AFTER)?, SystemTime::now()))
        .flatten();
    let keep_alive = keep_alive(response.headers());
    let mut body = response.into_body();
    let mut kept = Vec::new();
    let mut is_complete = true;
    while !body.is_end_stream() {
        let Some(frame) = connection.drive(body.frame()).await else {
            break;
        };
        let frame = frame.map_err(|error| Failure {
            status,
            ..Failure::http(&error)
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let room = RESPONSE_BYTES - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            is_complete = false;
            break;
        }
    }
    Ok(Answer {
        status,
        body: Bytes::from(kept),
        retry_after_s,
        is_complete,
        keep_alive,
    })
}

/// Seconds, or a date; capped. `None` if it is neither.
fn retry_after_s(value: &HeaderValue, now: SystemTime) -> Option<u32> {
    let text = value.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if is_number {
        // Digits that do not fit are a very long time.
        text.parse().unwrap_or(u64::MAX)
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let left = at.duration_since(now).unwrap_or_default();
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    };
    u32::try_from(seconds.min(RETRY_AFTER_MAX.as_secs())).ok()
}

/// `timeout` of the header `Keep-Alive`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_a_cap() {
        let now = UNIX_EPOCH + Duration::from_millis(1_544_271_440_500);
        let read = |text: &'static str| retry_after_s(&HeaderValue::from_static(text), now);
        assert_eq!(read("0"), Some(0));
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("99999999999999999999999999"), Some(86_400));
        assert_eq!(read("Sat, 08 Dec 2018 12:17:30 GMT"), Some(10));
        assert_eq!(read("Sat, 08 Dec 2018 12:00:00 GMT"), Some(0));
        assert_eq!(read("Sat, 08 Dec 2040 12:00:00 GMT"), Some(86_400));
        for text in ["", "-1", "+1", "1.5", "soon", "1e3"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn keep_alive_tells_its_timeout() {
        let read = |text: &'static str| {
            let headers = [("keep-alive", text)].map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            keep_alive(&headers.into_iter().collect())
        };
        assert_eq!(read("timeout=5, max=100"), Some(Duration::from_secs(5)));
        assert_eq!(read("max=100,timeout=7"), Some(Duration::from_secs(7)));
        assert_eq!(read("timeout=x"), None);
        assert_eq!(keep_alive(&HeaderMap::new()), None);
    }
}
