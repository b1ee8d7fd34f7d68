//! From pieces to calls.

use std::collections::HashMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use sidehook_api::event::{EncodedEvent, encode};
use sidehook_core::{
    address::{EventId, Partition, SegmentId},
    time::Timestamp,
};
use sidehook_store::turn::{
    Idempotency, LeaseSettle, NewEvent, Publish, Settle, Stamp, TenantPublish,
};

use super::piece::{Matched, PublishPiece, SettlePiece};
use crate::board::Reservation;

/// Publish pieces in a call.
#[derive(Debug)]
pub(super) struct PublishFlight {
    /// The pieces, with their tenant's place in the call and the index of their first
    /// event in its segment.
    pub(super) pieces: Vec<(PublishPiece, usize, usize)>,
    /// Per tenant its segment and the events as agents receive them.
    pub(super) segments: Vec<(SegmentId, Vec<Bytes>)>,
}

/// Settle pieces in a call, without their items, which moved into it.
#[derive(Debug)]
pub(super) struct SettleFlight {
    /// The pieces.
    pub(super) pieces: Vec<SettlePiece>,
}

/// A claim's reservations, one per demand, and each agent's newest stamp when the
/// store was asked.
#[derive(Debug)]
pub(super) struct ClaimFlight {
    /// The reservations.
    pub(super) reservations: Vec<(Reservation, u64)>,
}

/// Encodes events, which get their ids from the call's stamp.
pub(super) fn publish(
    partition: Partition,
    stamp: Stamp,
    now: Timestamp,
    pieces: Vec<PublishPiece>,
) -> (Publish, PublishFlight) {
    let mut tenants: Vec<TenantPublish> = Vec::new();
    let mut flight = PublishFlight {
        pieces: Vec::with_capacity(pieces.len()),
        segments: Vec::new(),
    };
    let mut places = HashMap::new();
    for piece in pieces {
        let place = *places.entry(piece.tenant).or_insert_with(|| {
            let segment = SegmentId {
                partition,
                lane: stamp.lane,
                sequence: stamp.sequence,
                ordinal: tenants.len() as u8,
            };
            tenants.push(TenantPublish {
                tenant: piece.tenant,
                catalog: piece.catalog,
                events: Vec::with_capacity(piece.items.len()),
            });
            flight
                .segments
                .push((segment, Vec::with_capacity(piece.items.len())));
            tenants.len() - 1
        });
        let (segment, bytes) = &mut flight.segments[place];
        let events = &mut tenants[place].events;
        let first = events.len();
        for item in &piece.items {
            let id = EventId::new(now, *segment, events.len() as u8);
            let encoded = encode(&item.event, id, now, &item.targets);
            bytes.push(encoded.event());
            events.push(NewEvent {
                id,
                record: encoded.record().clone(),
                idempotency: idempotency(item, &encoded),
                targets: item.targets.clone(),
            });
        }
        flight.pieces.push((piece, place, first));
    }
    (Publish { tenants }, flight)
}

fn idempotency(item: &Matched, encoded: &EncodedEvent) -> Option<Idempotency> {
    let key = &item.event.idempotency_key;
    (!key.is_empty()).then(|| Idempotency {
        key: digest(key.as_bytes()),
        content: digest(encoded.content()),
    })
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(bytes)[..16]);
    half
}

/// Gathers outcomes by lease.
pub(super) fn settle(mut pieces: Vec<SettlePiece>) -> (Settle, SettleFlight) {
    let mut leases: Vec<LeaseSettle> = Vec::with_capacity(pieces.len());
    let mut places = HashMap::with_capacity(pieces.len());
    for piece in &mut pieces {
        let mut items = std::mem::take(&mut piece.items);
        // A piece with another token than an earlier one's would spoil it; it can only
        // be forged, and the session has refused it before. The first token stands.
        match places.get(&piece.lease) {
            Some(place) => {
                let lease: &mut LeaseSettle = &mut leases[*place];
                lease.items.append(&mut items);
            }
            None => {
                places.insert(piece.lease, leases.len());
                leases.push(LeaseSettle {
                    lease: piece.lease,
                    token: piece.token,
                    items,
                });
            }
        }
    }
    (Settle { leases }, SettleFlight { pieces })
}
