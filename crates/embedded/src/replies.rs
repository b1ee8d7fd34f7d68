//! Replies as a lane's row keeps them, so that a repeated call is answered the same.

use bytes::Bytes;
use sidehook_core::{
    address::{EventId, Partition},
    version::Version,
};
use sidehook_store::{
    budget::{Exhausted, Which},
    rules,
    turn::{
        ClaimReply, EventPublished, Grant, LeaseId, PublishReply, SettleReply, Stamp,
        TenantPublished,
    },
};

use crate::{
    codec::{Reader, Writer},
    error::Fault,
};

/// A reply that a lane's row can keep.
pub(crate) trait Reply: Sized + Clone {
    /// The kind of call, as a byte of the row's key.
    const KIND: u8;

    fn pack(&self, to: &mut Writer);

    fn parse(partition: Partition, stamp: Stamp, from: &mut Reader) -> Result<Self, Fault>;
}

impl Reply for SettleReply {
    const KIND: u8 = b's';

    fn pack(&self, to: &mut Writer) {
        to.length(self.stale.len());
        for positions in &self.stale {
            to.length(positions.len());
            for position in positions {
                to.u16(*position);
            }
        }
    }

    fn parse(_: Partition, _: Stamp, from: &mut Reader) -> Result<Self, Fault> {
        let mut stale = Vec::new();
        for _ in 0..from.length()? {
            let positions = (0..from.length()?).map(|_| from.u16());
            stale.push(positions.collect::<Result<_, Fault>>()?);
        }
        Ok(Self { stale })
    }
}

const STALE: u8 = 0;
const ALL_ACCEPTED: u8 = 1;
const MIXED: u8 = 2;
const EXHAUSTED: u8 = 3;

impl Reply for PublishReply {
    const KIND: u8 = b'p';

    fn pack(&self, to: &mut Writer) {
        to.length(self.tenants.len());
        for tenant in &self.tenants {
            pack_tenant(tenant, to);
        }
    }

    fn parse(_: Partition, _: Stamp, from: &mut Reader) -> Result<Self, Fault> {
        let tenants = (0..from.length()?).map(|_| parse_tenant(from));
        Ok(Self {
            tenants: tenants.collect::<Result<_, Fault>>()?,
        })
    }
}

fn pack_tenant(tenant: &TenantPublished, to: &mut Writer) {
    let events = match tenant {
        TenantPublished::Stale { current } => {
            to.u8(STALE).version(*current);
            return;
        }
        TenantPublished::Exhausted(told) => {
            let which = match told.which {
                Which::Pending => 0,
                Which::Log => 1,
            };
            to.u8(EXHAUSTED).u8(which).u64(told.used).u64(told.budget);
            return;
        }
        TenantPublished::Done(events) => events,
    };
    let accepted = |event: &EventPublished| *event == EventPublished::Accepted;
    if events.iter().all(accepted) {
        to.u8(ALL_ACCEPTED).length(events.len());
        return;
    }
    to.u8(MIXED).length(events.len());
    for event in events {
        match event {
            EventPublished::Accepted => to.u8(0),
            EventPublished::Duplicate(id) => to.u8(1).u128(id.bits()),
            EventPublished::KeyReused(id) => to.u8(2).u128(id.bits()),
        };
    }
}

fn parse_tenant(from: &mut Reader) -> Result<TenantPublished, Fault> {
    match from.u8()? {
        STALE => Ok(TenantPublished::Stale {
            current: from.version()?,
        }),
        EXHAUSTED => Ok(TenantPublished::Exhausted(Exhausted {
            which: match from.u8()? {
                0 => Which::Pending,
                1 => Which::Log,
                _ => return Err(from.malformed()),
            },
            used: from.u64()?,
            budget: from.u64()?,
        })),
        ALL_ACCEPTED => {
            let count = from.length()?;
            Ok(TenantPublished::Done(vec![EventPublished::Accepted; count]))
        }
        MIXED => {
            let events = (0..from.length()?).map(|_| match from.u8()? {
                0 => Ok(EventPublished::Accepted),
                1 => Ok(EventPublished::Duplicate(EventId::from_bits(from.u128()?))),
                2 => Ok(EventPublished::KeyReused(EventId::from_bits(from.u128()?))),
                _ => Err(from.malformed()),
            });
            Ok(TenantPublished::Done(events.collect::<Result<_, Fault>>()?))
        }
        _ => Err(from.malformed()),
    }
}

impl Reply for ClaimReply {
    const KIND: u8 = b'c';

    fn pack(&self, to: &mut Writer) {
        to.length(self.grants.len());
        for (grant, more) in self.grants.iter().zip(&self.more) {
            to.flag(*more).flag(grant.is_some());
            if let Some(grant) = grant {
                to.time(grant.deadline).length(grant.runs.len());
                for run in &grant.runs {
                    to.run(run);
                }
            }
        }
        to.length(self.catalogs.len());
        for (tenant, version) in &self.catalogs {
            to.tenant(*tenant).version(*version);
        }
    }

    fn parse(partition: Partition, stamp: Stamp, from: &mut Reader) -> Result<Self, Fault> {
        let mut reply = Self {
            grants: Vec::new(),
            more: Vec::new(),
            catalogs: Vec::new(),
        };
        for place in 0..from.length()? {
            reply.more.push(from.flag()?);
            let mut grant = None;
            if from.flag()? {
                let id = rules::address(partition, stamp, place);
                let deadline = from.time()?;
                let runs = (0..from.length()?).map(|_| from.run(partition));
                grant = Some(Grant {
                    runs: runs.collect::<Result<_, Fault>>()?,
                    lease: LeaseId(id.ok_or_else(|| from.malformed())?),
                    deadline,
                });
            }
            reply.grants.push(grant);
        }
        for _ in 0..from.length()? {
            let tenant = from.tenant()?;
            let version: Version = from.version()?;
            reply.catalogs.push((tenant, version));
        }
        Ok(reply)
    }
}

/// What a lane's row tells about its last call.
pub(crate) fn last_sequence(row: &Bytes) -> Result<(u32, Reader), Fault> {
    let mut from = Reader::new("a lane's reply", row.clone());
    Ok((from.u32()?, from))
}

#[cfg(test)]
mod tests {
    use sidehook_core::{
        address::{Lane, SegmentId, Sequence},
        id::{SubscriptionNumber, TenantId},
        time::Timestamp,
    };
    use sidehook_store::turn::Run;

    use super::*;

    const STAMP: Stamp = Stamp {
        lane: Lane::from_random(77),
        sequence: Sequence::FIRST,
    };

    fn comes_back<R: Reply + PartialEq + core::fmt::Debug>(reply: &R) {
        let partition = Partition::new(5).expect("below 64");
        let mut to = Writer::default();
        reply.pack(&mut to);
        let packed = Bytes::from(to.finish());
        let mut from = Reader::new("a reply", packed.clone());
        let back = R::parse(partition, STAMP, &mut from).expect("it was packed");
        assert_eq!((&back, from.is_empty()), (reply, true));
        for length in 0..packed.len() {
            let mut from = Reader::new("a reply", packed.slice(..length));
            assert!(R::parse(partition, STAMP, &mut from).is_err(), "{length}");
        }
    }

    #[test]
    fn replies_come_back() {
        let event = EventId::from_bits(99);
        comes_back(&SettleReply {
            stale: vec![vec![], vec![3, 700]],
        });
        comes_back(&PublishReply {
            tenants: vec![
                TenantPublished::Stale {
                    current: Version {
                        counter: 3,
                        nonce: u64::MAX,
                    },
                },
                TenantPublished::Exhausted(Exhausted {
                    which: Which::Log,
                    used: u64::MAX,
                    budget: 5,
                }),
                TenantPublished::Done(vec![EventPublished::Accepted; 3]),
                TenantPublished::Done(vec![
                    EventPublished::Accepted,
                    EventPublished::Duplicate(event),
                    EventPublished::KeyReused(event),
                ]),
            ],
        });
        let lease = |ordinal| SegmentId {
            partition: Partition::new(5).expect("below 64"),
            lane: STAMP.lane,
            sequence: STAMP.sequence,
            ordinal,
        };
        let run = |retry| Run {
            tenant: TenantId::from_bits(1 << 100),
            subscription: SubscriptionNumber(9),
            segment: lease(3),
            indices: vec![127],
            leases_lost: 4,
            charge: 777,
            generation: 1_000,
            retry,
        };
        comes_back(&ClaimReply {
            grants: vec![
                None,
                Some(Grant {
                    lease: LeaseId(lease(1)),
                    deadline: Timestamp::from_millis(12),
                    runs: vec![run(None), run(Some(Bytes::from_static(b"r")))],
                }),
            ],
            more: vec![true, false],
            catalogs: vec![(TenantId::from_bits(4), Version::default())],
        });
    }
}
