//! Events as files: a JSON object with the API's field names, or an envelope as
//! receivers get it, so that what one system received another can publish.
//!
//! Payloads are kept byte for byte: signatures and receivers' own digests count on it.
//! An unknown field is an error, because a misspelt one would otherwise be lost without
//! a word. `null` stands for an absent field.

use bytes::Bytes;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use sidehook_api::v1;

/// The fields of both forms; [`Fields::check`] tells which belongs where.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    object_type: Option<String>,
    action: Option<String>,
    object_id: Option<String>,
    user_id: Option<String>,
    lead_id: Option<String>,
    request_id: Option<String>,
    campaign_id: Option<String>,
    organization_id: Option<String>,
    occurred_at: Option<String>,
    idempotency_key: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_data: Option<&'a RawValue>,
    changed_fields: Option<Vec<String>>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
    id: Option<IgnoredAny>,
    date_created: Option<String>,
    date_updated: Option<IgnoredAny>,
    api_key_id: Option<IgnoredAny>,
}

/// What a receiver gets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Fields<'a>,
    /// The receiver's affair.
    #[serde(rename = "subscription_id")]
    _subscription_id: Option<IgnoredAny>,
}

/// Tells the forms apart.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

/// The event in `json`.
///
/// # Errors
/// What is wrong, for people: no JSON object, an unknown field, a wrong type, a time
/// that is none. Whether the fields' values are acceptable is the server's to say.
pub(crate) fn parse(json: &[u8]) -> Result<v1::Event, String> {
    // serde takes an array for a struct, too: by position, which nobody means.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err("an event is a JSON object, `{…}`".to_owned());
    }
    let probe: Probe<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let Some(event) = probe.event else {
        let fields: Fields<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        fields.check(false)?;
        return fields.into_event();
    };
    if !event.get().starts_with('{') {
        return Err("`event` is a JSON object, `{…}`".to_owned());
    }
    let envelope: Envelope<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    envelope.event.check(true)?;
    envelope.event.into_event()
}

impl Fields<'_> {
    /// Refuses fields of the other form.
    fn check(&self, envelope: bool) -> Result<(), String> {
        if envelope {
            return match self.occurred_at {
                Some(_) => Err("`occurred_at`: an envelope says `date_created`".to_owned()),
                None => Ok(()),
            };
        }
        let foreign = [
            ("id", self.id.is_some()),
            ("date_created", self.date_created.is_some()),
            ("date_updated", self.date_updated.is_some()),
            ("api_key_id", self.api_key_id.is_some()),
        ];
        match foreign.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(format!(
                "unknown field `{name}`: it belongs into an envelope, `{{\"event\": {{…}}}}`"
            )),
            None => Ok(()),
        }
    }

    fn into_event(self) -> Result<v1::Event, String> {
        let occurred_at = match self.occurred_at.or(self.date_created) {
            Some(text) => Some(moment(&text)?),
            None => None,
        };
        Ok(v1::Event {
            idempotency_key: self.idempotency_key.unwrap_or_default(),
            object_type: self.object_type.unwrap_or_default(),
            action: self.action.unwrap_or_default(),
            object_id: self.object_id.unwrap_or_default(),
            user_id: self.user_id.unwrap_or_default(),
            lead_id: self.lead_id.unwrap_or_default(),
            request_id: self.request_id.unwrap_or_default(),
            campaign_id: self.campaign_id.unwrap_or_default(),
            organization_id: self.organization_id.unwrap_or_default(),
            occurred_at,
            data: raw(self.data),
            previous_data: raw(self.previous_data),
            changed_fields: self.changed_fields.unwrap_or_default(),
            meta: raw(self.meta),
            ..v1::Event::default()
        })
    }
}

fn raw(value: Option<&RawValue>) -> Bytes {
    value.map_or_else(Bytes::new, |value| {
        Bytes::copy_from_slice(value.get().as_bytes())
    })
}

/// A moment in RFC 3339; without a zone it is UTC, as in received envelopes.
fn moment(text: &str) -> Result<prost_types::Timestamp, String> {
    let moment = text.parse::<Timestamp>().or_else(|_| {
        let local = text.parse::<DateTime>()?;
        Ok(local.to_zoned(TimeZone::UTC)?.timestamp())
    });
    let moment = moment.map_err(|error: jiff::Error| format!("the time `{text}`: {error}"))?;
    // `google.protobuf.Timestamp` counts its nanoseconds forwards.
    let nanos = moment.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
    let nanos = i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
    Ok(prost_types::Timestamp { seconds, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_stay_byte_for_byte() {
        let json = br#" {"object_type":"lead","action":"created","data":{ "b":1.00, "a":"\u0041" },
            "meta":{},"changed_fields":["x"],"user_id":null}"#;
        let event = parse(json).expect("a sound event");
        assert_eq!(event.object_type, "lead");
        assert_eq!(&event.data[..], br#"{ "b":1.00, "a":"\u0041" }"#);
        assert_eq!(&event.meta[..], b"{}");
        assert_eq!(event.changed_fields, ["x"]);
        assert!(event.previous_data.is_empty() && event.user_id.is_empty());
        assert!(event.occurred_at.is_none());
    }

    #[test]
    fn an_envelope_leaves_the_receivers_affairs_out() {
        let json = include_bytes!("../../../../tests/data/opportunity-won.json");
        let event = parse(json).expect("a received envelope");
        assert_eq!(
            (event.object_type.as_str(), event.action.as_str()),
            ("opportunity", "updated")
        );
        assert!(event.id.is_empty());
        let moment = event.occurred_at.expect("date_created");
        assert_eq!((moment.seconds, moment.nanos), (1_547_556_503, 395_000_000));
        assert!(event.data.starts_with(b"{\n      \"contact_name\""));
        assert_eq!(event.changed_fields.len(), 5);
        assert_eq!(event.idempotency_key, "");
    }

    #[test]
    fn times_have_a_zone_or_are_utc() {
        let at = |text: &str| moment(text).map(|moment| (moment.seconds, moment.nanos));
        assert_eq!(at("1970-01-01T01:00:00.5+01:00"), Ok((0, 500_000_000)));
        assert_eq!(at("1970-01-01T00:00:01"), Ok((1, 0)));
        assert_eq!(at("1969-12-31T23:59:59.5Z"), Ok((-1, 500_000_000)));
        assert!(at("yesterday").is_err_and(|error| error.contains("`yesterday`")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            (r#"{"object_typ":"lead"}"#, "`object_typ`"),
            (r#"{"id":"ev_1","object_type":"lead"}"#, "`id`"),
            (r#"{"event":{"colour":1}}"#, "`colour`"),
            (r#"{"event":{},"extra":1}"#, "`extra`"),
            (
                r#"{"event":{"occurred_at":"2020-01-01"}}"#,
                "`date_created`",
            ),
            (r#"{"event":["lead"]}"#, "`event`"),
            (r#"["lead","created"]"#, "object"),
            (r#"{"object_type":"lead""#, "EOF"),
            (r#"{"action":7}"#, "integer"),
            ("", "object"),
        ];
        for (json, tells) in wrong {
            let error = parse(json.as_bytes()).expect_err(json);
            assert!(error.contains(tells), "{json}: {error}");
        }
    }
}
