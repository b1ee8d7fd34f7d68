//! Between the store's records and the frames of a file.

mod health;

use bytes::Bytes;
use sidehook_api::record_v1::{
    ImageAttempts, ImageDeleted, ImageDeliveries, ImageFrame, ImageKey, ImageRegistry,
    ImageSegment, ImageSubscription, ImageTenant, ImageVersion, image_frame::Frame,
};
use sidehook_core::{
    address::{EventId, SegmentId},
    id::{SubscriptionNumber, TenantId},
    pool::Pool,
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    budget,
    catalog::{QueueSettings, Row},
    image::Image,
    registry::Kind,
    turn::{Idempotency, Run},
};

/// A frame that no export writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

fn id(tenant: TenantId) -> Bytes {
    Bytes::copy_from_slice(&tenant.to_bytes())
}

fn address(segment: SegmentId) -> Bytes {
    Bytes::copy_from_slice(&segment.bits().to_be_bytes())
}

const fn packed(version: Version) -> Option<ImageVersion> {
    Some(ImageVersion {
        counter: version.counter,
        nonce: version.nonce,
    })
}

/// The frame of a record.
pub(super) fn frame(image: Image) -> ImageFrame {
    let frame = match image {
        Image::Tenant { tenant, version } => Frame::Tenant(ImageTenant {
            tenant_id: id(tenant),
            version: packed(version),
        }),
        Image::Subscription {
            tenant,
            row,
            queue,
            health,
        } => Frame::Subscription(ImageSubscription {
            health: health::frame(*health),
            ..subscription_frame(tenant, row, queue)
        }),
        Image::Deleted {
            tenant,
            number,
            version,
        } => Frame::Deleted(ImageDeleted {
            tenant_id: id(tenant),
            number: number.0,
            version: packed(version),
        }),
        Image::Segment {
            id: segment,
            tenant,
            published,
            bytes,
            records,
        } => Frame::Segment(ImageSegment {
            segment: address(segment),
            tenant_id: id(tenant),
            published_at_ms: published.as_millis(),
            records,
            bytes: Some(bytes),
        }),
        Image::Attempts {
            segment,
            tenant,
            records,
        } => Frame::Attempts(ImageAttempts {
            segment: address(segment),
            tenant_id: id(tenant),
            records,
        }),
        Image::Deliveries { run, due } => Frame::Deliveries(run_frame(run, due)),
        Image::Key {
            tenant,
            idempotency,
            event,
            at,
        } => Frame::Key(ImageKey {
            tenant_id: id(tenant),
            key: Bytes::copy_from_slice(&idempotency.key),
            content: Bytes::copy_from_slice(&idempotency.content),
            event_id: Bytes::copy_from_slice(&event.to_bytes()),
            used_at_ms: at.as_millis(),
        }),
        Image::Registry { kind, key, value } => Frame::Registry(ImageRegistry {
            kind: kind.as_str().to_owned(),
            key,
            value,
        }),
    };
    ImageFrame { frame: Some(frame) }
}

fn subscription_frame(tenant: TenantId, row: Row, queue: QueueSettings) -> ImageSubscription {
    ImageSubscription {
        tenant_id: id(tenant),
        number: row.number.0,
        version: packed(row.version),
        record: row.record,
        pool_owner_id: id(queue.pool.owner),
        pool: queue.pool.name,
        window: queue.window,
        paused: queue.paused,
        health: None,
    }
}

fn run_frame(run: Run, due: Option<Timestamp>) -> ImageDeliveries {
    ImageDeliveries {
        tenant_id: id(run.tenant),
        subscription: run.subscription.0,
        segment: address(run.segment),
        indices: run.indices.into(),
        leases_lost: run.leases_lost.into(),
        generation: run.generation.into(),
        retry: run.retry,
        due_at_ms: due.map(Timestamp::as_millis),
        charge: Some(run.charge),
    }
}

fn tenant(bytes: &[u8]) -> Result<TenantId, Malformed> {
    TenantId::from_slice(bytes).ok_or(Malformed("a tenant's id"))
}

fn segment(bytes: &[u8]) -> Result<SegmentId, Malformed> {
    let bits = bytes.try_into().map(u128::from_be_bytes).ok();
    bits.and_then(SegmentId::from_bits)
        .ok_or(Malformed("a segment's address"))
}

fn version(version: Option<ImageVersion>) -> Result<Version, Malformed> {
    let version = version.ok_or(Malformed("a version"))?;
    Ok(Version {
        counter: version.counter,
        nonce: version.nonce,
    })
}

fn digest(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    bytes.try_into().map_err(|_| Malformed("a digest"))
}

fn kind(word: &str) -> Result<Kind, Malformed> {
    let mut kinds = Kind::ALL.into_iter();
    kinds
        .find(|kind| kind.as_str() == word)
        .ok_or(Malformed("a kind of registry record"))
}

/// The record of a frame.
///
/// # Errors
/// [`Malformed`]: no export of this format writes it.
pub(super) fn image(frame: Frame) -> Result<Image, Malformed> {
    Ok(match frame {
        Frame::Tenant(one) => Image::Tenant {
            tenant: tenant(&one.tenant_id)?,
            version: version(one.version)?,
        },
        Frame::Subscription(one) => subscription(one)?,
        Frame::Deleted(one) => Image::Deleted {
            tenant: tenant(&one.tenant_id)?,
            number: SubscriptionNumber(one.number),
            version: version(one.version)?,
        },
        Frame::Segment(one) => Image::Segment {
            id: segment(&one.segment)?,
            tenant: tenant(&one.tenant_id)?,
            published: Timestamp::from_millis(one.published_at_ms),
            bytes: one.bytes.unwrap_or_else(|| kept(&one.records)),
            records: one.records,
        },
        Frame::Attempts(one) => Image::Attempts {
            segment: segment(&one.segment)?,
            tenant: tenant(&one.tenant_id)?,
            records: one.records,
        },
        Frame::Deliveries(one) => deliveries(one)?,
        Frame::Key(one) => Image::Key {
            tenant: tenant(&one.tenant_id)?,
            idempotency: Idempotency {
                key: digest(&one.key)?,
                content: digest(&one.content)?,
            },
            event: EventId::from_slice(&one.event_id).ok_or(Malformed("an event's id"))?,
            at: Timestamp::from_millis(one.used_at_ms),
        },
        Frame::Registry(one) => Image::Registry {
            kind: kind(&one.kind)?,
            key: one.key,
            value: one.value,
        },
        Frame::Header(_) | Frame::Trailer(_) => return Err(Malformed("the order of frames")),
    })
}

/// What a segment counts for whose file does not tell it.
fn kept(records: &[Bytes]) -> u32 {
    let bytes: usize = records.iter().map(Bytes::len).sum();
    let events = records.iter().filter(|record| !record.is_empty()).count();
    budget::kept(bytes as u64, events as u64, 0)
}

fn subscription(one: ImageSubscription) -> Result<Image, Malformed> {
    let row = Row {
        number: SubscriptionNumber(one.number),
        version: version(one.version)?,
        record: one.record,
    };
    let queue = QueueSettings {
        pool: Pool {
            owner: tenant(&one.pool_owner_id)?,
            name: one.pool,
        },
        window: one.window,
        paused: one.paused,
    };
    let health = one.health.map(health::image).transpose()?;
    Ok(Image::Subscription {
        tenant: tenant(&one.tenant_id)?,
        row,
        queue,
        health: Box::new(health.unwrap_or_default()),
    })
}

fn deliveries(one: ImageDeliveries) -> Result<Image, Malformed> {
    let number = |_| Malformed("a number of a delivery");
    let run = Run {
        tenant: tenant(&one.tenant_id)?,
        subscription: SubscriptionNumber(one.subscription),
        segment: segment(&one.segment)?,
        indices: one.indices.to_vec(),
        leases_lost: u8::try_from(one.leases_lost).map_err(number)?,
        charge: one.charge.unwrap_or_else(|| budget::charge(0, 1)),
        generation: u16::try_from(one.generation).map_err(number)?,
        retry: one.retry,
    };
    let due = one.due_at_ms.map(Timestamp::from_millis);
    Ok(Image::Deliveries { run, due })
}

#[cfg(test)]
mod tests {
    use sidehook_core::address::{Lane, Partition, Sequence};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
    const TENANT: TenantId = TenantId::from_bits(7);
    const NUMBER: SubscriptionNumber = SubscriptionNumber(5);
    const VERSION: Version = Version {
        counter: 4,
        nonce: u64::MAX,
    };

    fn segment_id() -> SegmentId {
        SegmentId {
            partition: Partition::of(TENANT),
            lane: Lane::from_random(9),
            sequence: Sequence::FIRST,
            ordinal: 3,
        }
    }

    fn survives(one: Image) {
        let framed = frame(one.clone()).frame.expect("a frame has something");
        assert_eq!(image(framed), Ok(one));
    }

    #[test]
    fn catalogs_survive_their_frames() {
        survives(Image::Tenant {
            tenant: TENANT,
            version: VERSION,
        });
        survives(Image::Subscription {
            tenant: TENANT,
            row: Row {
                number: NUMBER,
                version: VERSION,
                record: Bytes::from_static(b"record"),
            },
            queue: QueueSettings {
                pool: Pool {
                    owner: TenantId::PLATFORM,
                    name: "shared".to_owned(),
                },
                window: 8,
                paused: true,
            },
            health: Box::default(),
        });
        survives(Image::Deleted {
            tenant: TENANT,
            number: NUMBER,
            version: VERSION,
        });
    }

    #[test]
    fn logs_and_keys_survive_their_frames() {
        let record = Bytes::from_static(b"record");
        survives(Image::Segment {
            id: segment_id(),
            tenant: TENANT,
            published: NOW,
            bytes: 7_777,
            records: vec![record.clone(), Bytes::new()],
        });
        survives(Image::Attempts {
            segment: segment_id(),
            tenant: TENANT,
            records: vec![record.clone()],
        });
        survives(Image::Key {
            tenant: TENANT,
            idempotency: Idempotency {
                key: [1; 16],
                content: [2; 16],
            },
            event: EventId::new(NOW, segment_id(), 1),
            at: NOW,
        });
        for kind in Kind::ALL {
            survives(Image::Registry {
                kind,
                key: record.clone(),
                value: record.clone(),
            });
        }
    }

    #[test]
    fn deliveries_survive_their_frames() {
        let run = Run {
            tenant: TENANT,
            subscription: NUMBER,
            segment: segment_id(),
            indices: vec![2],
            leases_lost: 1,
            charge: 4_321,
            generation: 300,
            retry: Some(Bytes::new()),
        };
        let whole = Run {
            indices: (0..128).collect(),
            retry: None,
            ..run.clone()
        };
        let due = Some(NOW);
        survives(Image::Deliveries { run, due });
        survives(Image::Deliveries {
            run: whole,
            due: None,
        });
    }

    #[test]
    fn what_an_older_file_does_not_count_is_counted_anew() {
        let segment = ImageSegment {
            segment: address(segment_id()),
            tenant_id: id(TENANT),
            published_at_ms: 5,
            records: vec![Bytes::from_static(b"record"), Bytes::new()],
            bytes: None,
        };
        let Ok(Image::Segment { bytes, .. }) = image(Frame::Segment(segment)) else {
            panic!("it is a segment");
        };
        assert_eq!(bytes, budget::kept(6, 1, 0));
        let deliveries = ImageDeliveries {
            tenant_id: id(TENANT),
            segment: address(segment_id()),
            indices: Bytes::from_static(&[1]),
            ..ImageDeliveries::default()
        };
        let Ok(Image::Deliveries { run, .. }) = image(Frame::Deliveries(deliveries)) else {
            panic!("they are deliveries");
        };
        assert_eq!(run.charge, budget::charge(0, 1));
    }

    #[test]
    fn what_no_export_writes_is_told() {
        let tenant = ImageTenant {
            tenant_id: Bytes::from_static(b"short"),
            version: packed(VERSION),
        };
        assert_eq!(
            image(Frame::Tenant(tenant)),
            Err(Malformed("a tenant's id"))
        );
        let record = ImageRegistry {
            kind: "else".to_owned(),
            ..ImageRegistry::default()
        };
        assert!(image(Frame::Registry(record)).is_err());
    }
}
