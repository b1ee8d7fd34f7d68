//! A subscription's health: its notes as the store keeps them, and all of it as the API
//! shows it.

#![allow(
    clippy::needless_update,
    reason = "a later version's records have more fields: see the feature `later`"
)]

use bytes::Bytes;
use sidehook_core::{
    address::{DeliveryId, EventId},
    health::{Health, Note},
    limits::HEALTH_NOTE_BYTES,
    outcome::{AttemptError, Blame},
    time::Timestamp,
};

use crate::{
    record::{decode, encode, moment},
    record_error::CorruptRecord,
    record_v1,
    time::timestamp,
    v1,
};

/// Bytes of a note beside its detail, at most.
const NOTE_OVERHEAD: usize = 80;
/// Bytes of an agent's words that a note keeps.
const DETAIL_BYTES: usize = HEALTH_NOTE_BYTES - NOTE_OVERHEAD;

/// Encodes a note, in at most [`HEALTH_NOTE_BYTES`]: a longer detail is cut.
#[must_use]
pub fn encode_note(note: &Note) -> Bytes {
    let error = note.error.map_or(v1::AttemptError::Unspecified, Into::into);
    let record = record_v1::HealthNoteRecord {
        delivery_id: Bytes::copy_from_slice(&note.delivery_id.to_bytes()),
        accepted_at_ms: note.accepted_at.map_or(0, Timestamp::as_millis),
        at_ms: note.at.as_millis(),
        attempt_number: note.attempt_number,
        response_status: note.response_status.into(),
        error: error.into(),
        detail: beginning(&note.detail).to_owned(),
        ..Default::default()
    };
    encode(&record)
}

fn beginning(detail: &str) -> &str {
    let mut end = detail.len().min(DETAIL_BYTES);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.get(..end).unwrap_or_default()
}

/// Reads what [`encode_note`] wrote.
///
/// # Errors
/// If it cannot be read.
pub fn decode_note(note: &Bytes) -> Result<Note, CorruptRecord> {
    const WHAT: &str = "health note";
    let record: record_v1::HealthNoteRecord = decode(WHAT, note.clone())?;
    let delivery_id = DeliveryId::from_slice(&record.delivery_id);
    Ok(Note {
        delivery_id: delivery_id.ok_or_else(|| CorruptRecord::new(WHAT, "delivery_id"))?,
        accepted_at: moment(record.accepted_at_ms),
        at: Timestamp::from_millis(record.at_ms),
        attempt_number: record.attempt_number,
        response_status: u16::try_from(record.response_status).unwrap_or(0),
        error: match v1::AttemptError::try_from(record.error) {
            Ok(error) => error.try_into().ok(),
            // Only what is the receiver's counts.
            Err(_) => Some(AttemptError::Unknown(Blame::Receiver)),
        },
        detail: record.detail,
    })
}

/// The notes of a health, newest first: failures, then successes. One that cannot be read
/// is left out.
#[must_use]
pub fn notes(health: &Health) -> [Vec<Note>; 2] {
    let recent = &health.recent;
    [&recent.errors, &recent.successes].map(|notes| {
        let read = notes.iter().rev().map(decode_note);
        read.filter_map(Result::ok).collect()
    })
}

/// A health as the API shows it; `notes` are its own.
#[must_use]
pub fn to_proto(health: &Health, notes: &[Vec<Note>; 2]) -> v1::SubscriptionHealth {
    let [errors, successes] = notes;
    let counters = health.recent.counters;
    let records = |notes: &[Note]| notes.iter().map(record_of).collect();
    v1::SubscriptionHealth {
        status: health.state().as_str().to_owned(),
        latest_error: errors.first().map(Note::error_text).unwrap_or_default(),
        counters: Some(v1::HealthCounters {
            first_success: counters.first_success,
            first_fail: counters.first_fail,
            retry_success: counters.retry_success,
            retry_fail: counters.retry_fail,
        }),
        errors: records(errors),
        successes: records(successes),
        consecutive_failing_buckets: health.failing_hours(),
    }
}

fn record_of(note: &Note) -> v1::HealthRecord {
    let id = note.delivery_id;
    let segment = note.accepted_at.zip(id.segment());
    let event = segment.map(|(at, segment)| EventId::new(at, segment, id.index()));
    v1::HealthRecord {
        attempt_number: note.attempt_number,
        time: Some(timestamp(note.at)),
        error: note.error_text(),
        event_id: event.map_or_else(String::new, |id| id.to_string()),
        response_status_code: note.response_status.into(),
        delivery_id: id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use sidehook_core::{
        address::{Lane, Partition, SegmentId, Sequence},
        health::{Kind, Latency, Mark},
        id::SubscriptionNumber,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn note(number: u32, error: Option<AttemptError>) -> Note {
        let segment = SegmentId {
            partition: Partition::new(63).expect("in range"),
            lane: Lane::from_random(u64::MAX),
            sequence: Sequence::FIRST,
            ordinal: 127,
        };
        Note {
            delivery_id: DeliveryId::new(segment, 127, SubscriptionNumber(u32::MAX), 1_023),
            accepted_at: Some(NOW),
            at: NOW + Duration::from_secs(number.into()),
            attempt_number: number,
            response_status: if error.is_some() { 404 } else { 200 },
            error,
            detail: String::new(),
        }
    }

    #[test]
    fn notes_survive_and_are_bounded() {
        for error in [None, Some(AttemptError::Status), Some(AttemptError::Tls)] {
            let note = note(3, error);
            assert_eq!(decode_note(&encode_note(&note)), Ok(note));
        }
        let long = Note {
            attempt_number: u32::MAX,
            response_status: u16::MAX,
            accepted_at: Some(Timestamp::from_millis(i64::MIN)),
            at: Timestamp::from_millis(i64::MIN),
            detail: "ä".repeat(500),
            ..note(1, Some(AttemptError::Protocol))
        };
        let encoded = encode_note(&long);
        assert!(encoded.len() <= HEALTH_NOTE_BYTES, "{}", encoded.len());
        let read = decode_note(&encoded).expect("it is one");
        assert!(long.detail.starts_with(&read.detail) && read.detail.len() >= 100);
        assert!(decode_note(&Bytes::from_static(b"\xff")).is_err());
        assert!(decode_note(&Bytes::new()).is_err());
    }

    #[test]
    fn the_newest_come_first_and_errors_outlive_successes() {
        let mut health = Health::default();
        let empty = to_proto(&health, &notes(&health));
        let nothing = v1::SubscriptionHealth {
            counters: Some(v1::HealthCounters::default()),
            ..v1::SubscriptionHealth::default()
        };
        assert_eq!(empty, nothing);
        for number in 1..=4 {
            let error = (number < 3).then_some(AttemptError::Status);
            let mark = Mark {
                kind: Kind::of(number == 1, error.is_none()),
                latency: Latency::of(Duration::ZERO),
                note: encode_note(&note(number, error)),
            };
            health.count(NOW, [&mark]);
        }
        health.recent.successes.push(Bytes::from_static(b"\xff"));
        let shown = to_proto(&health, &notes(&health));
        let text = "Exception name: HTTPError, Status code: 404";
        assert_eq!((&*shown.status, &*shown.latest_error), ("degraded", text));
        let numbers = |records: &[v1::HealthRecord]| -> Vec<u32> {
            records.iter().map(|one| one.attempt_number).collect()
        };
        assert_eq!(numbers(&shown.errors), [2, 1]);
        assert_eq!(numbers(&shown.successes), [4, 3]);
        let newest = &shown.successes[0];
        assert_eq!((newest.response_status_code, &*newest.error), (200, ""));
        assert!(newest.event_id.starts_with("ev_"), "{newest:?}");
        let counters = shown.counters.expect("they are shown");
        assert_eq!((counters.first_fail, counters.retry_fail), (1, 1));
        assert_eq!((counters.first_success, counters.retry_success), (0, 2));
    }
}
