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
    Idempotency, LeaseId, LeaseSettle, NewEvent, Publish, Settle, Stamp, TenantPublish,
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

/// Settle pieces in a call.
#[derive(Debug)]
pub(super) struct SettleFlight {
    pieces: Vec<Gathered>,
}

/// A piece whose items moved into a call.
#[derive(Debug)]
struct Gathered {
    /// The piece. What it keeps of its items another piece reported first.
    piece: SettlePiece,
    /// Its lease's place in the call.
    lease: usize,
    /// How many items moved.
    moved: usize,
}

impl SettleFlight {
    /// The pieces, for their call is over.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = SettlePiece> {
        self.pieces.into_iter().map(|gathered| gathered.piece)
    }

    /// The pieces as they were before `call` was made of them; none if there was only
    /// one, which nothing else has spoilt.
    pub(super) fn apart(&mut self, call: &mut Settle) -> Vec<SettlePiece> {
        if self.pieces.len() < 2 {
            return Vec::new();
        }
        let items = |lease: &mut LeaseSettle| std::mem::take(&mut lease.items).into_iter();
        let mut items: Vec<_> = call.leases.iter_mut().map(items).collect();
        let gathered = self.pieces.drain(..).map(|mut gathered| {
            let own = items[gathered.lease].by_ref().take(gathered.moved);
            gathered.piece.items.extend(own);
            gathered.piece
        });
        gathered.collect()
    }
}

/// A claim's reservations, one per demand, and each agent's newest stamp when the
/// store was asked.
#[derive(Debug)]
pub(super) struct ClaimFlight {
    /// The reservations.
    pub(super) reservations: Vec<(Reservation, u64)>,
}

/// Encodes events, which get their ids from the call's stamp. Of a tenant's pieces the
/// first one's budget counts: they are of one moment.
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
                budget: piece.budget,
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
///
/// A position of a lease goes in once. Two sessions of an agent may both report it: the
/// earlier one's report may still wait here when a later one has taken the lease over.
/// The first report stands, and what becomes of it is the answer to both.
pub(super) fn settle(pieces: Vec<SettlePiece>) -> (Settle, SettleFlight) {
    let mut leases: Vec<LeaseSettle> = Vec::with_capacity(pieces.len());
    let mut places: HashMap<LeaseId, (usize, u128)> = HashMap::with_capacity(pieces.len());
    let gather = |mut piece: SettlePiece| {
        let items = std::mem::take(&mut piece.items);
        let (lease, reported) = places.entry(piece.lease).or_insert_with(|| {
            leases.push(LeaseSettle {
                lease: piece.lease,
                token: piece.token,
                items: Vec::with_capacity(items.len()),
            });
            (leases.len() - 1, 0)
        });
        let gathered = &mut leases[*lease].items;
        let before = gathered.len();
        for item in items {
            // Positions beyond every lease are the store's to ignore.
            let bit = 1_u128.checked_shl(item.position.into()).unwrap_or(0);
            if *reported & bit == 0 {
                *reported |= bit;
                gathered.push(item);
            } else {
                piece.items.push(item);
            }
        }
        Gathered {
            moved: gathered.len() - before,
            lease: *lease,
            piece,
        }
    };
    let pieces = pieces.into_iter().map(gather).collect();
    (Settle { leases }, SettleFlight { pieces })
}

#[cfg(test)]
mod tests {
    use sidehook_core::{
        address::{Lane, Sequence},
        id::{SubscriptionNumber, TenantId},
    };
    use sidehook_store::{
        rules,
        turn::{Disposition, SettleItem},
    };

    use super::*;

    fn segment(sequence: u32) -> SegmentId {
        SegmentId {
            partition: Partition::new(3).expect("below 64"),
            lane: Lane::from_random(1),
            sequence: Sequence::new(sequence).expect("in range"),
            ordinal: 0,
        }
    }

    /// Reports with something of their own each: their index.
    fn piece(lease: u32, items: &[(u16, u8)]) -> SettlePiece {
        let item = |(position, index): &(u16, u8)| SettleItem {
            position: *position,
            tenant: TenantId::from_bits(1),
            subscription: SubscriptionNumber(1),
            segment: segment(1),
            index: *index,
            generation: 0,
            disposition: Disposition::Release,
            mark: None,
        };
        SettlePiece {
            lease: LeaseId(segment(lease)),
            token: 7,
            items: items.iter().map(item).collect(),
            bytes: 0,
            retry_at: None,
            session: None,
            ticket: None,
            alone: false,
        }
    }

    fn named(items: &[SettleItem]) -> Vec<(u16, u8)> {
        items
            .iter()
            .map(|item| (item.position, item.index))
            .collect()
    }

    #[test]
    fn of_two_reports_of_a_position_the_first_goes_and_both_come_back() {
        let pieces = vec![
            piece(1, &[(1, 10)]),
            piece(2, &[(1, 20)]),
            piece(1, &[(0, 30), (1, 31), (127, 32)]),
            piece(1, &[(127, 40)]),
        ];
        let (mut call, mut flight) = settle(pieces);
        assert_eq!(rules::settle(segment(1).partition, &call), Ok(()));
        assert_eq!(
            named(&call.leases[0].items),
            [(1, 10), (0, 30), (127, 32)],
            "the first stands"
        );
        assert_eq!(named(&call.leases[1].items), [(1, 20)]);
        let mut apart: Vec<_> = flight.apart(&mut call);
        apart[2].items.sort_by_key(|item| item.position);
        let apart: Vec<_> = apart.iter().map(|piece| named(&piece.items)).collect();
        assert_eq!(apart[0], [(1, 10)]);
        assert_eq!(apart[1], [(1, 20)]);
        assert_eq!(apart[2], [(0, 30), (1, 31), (127, 32)]);
        assert_eq!(apart[3], [(127, 40)]);
    }

    #[test]
    fn a_piece_alone_stays_in_its_call() {
        let (mut call, mut flight) = settle(vec![piece(1, &[(0, 1)])]);
        assert!(flight.apart(&mut call).is_empty());
        assert_eq!(named(&call.leases[0].items), [(0, 1)]);
        assert_eq!(flight.into_pieces().count(), 1);
    }
}
