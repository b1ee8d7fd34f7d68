//! One Assign frame.
//!
//! Events are in it once, however many of the deliveries are theirs; settings only
//! when the agent does not have them yet. The frame is bounded by bytes as well as by
//! count: gRPC refuses a larger one whole.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use sidehook_api::{
    agent_v1::{Assign, AssignedDelivery, SubscriptionSettings, connect_response::Frame},
    event,
};
use sidehook_core::{
    address::{EventId, SegmentId},
    limits::FRAME_BYTES,
    retry,
    time::Timestamp,
};
use sidehook_session::server_end::{LeaseRef, Lent, SentSettings, SettingsUse};
use sidehook_store::turn::Run;

use super::{Granted, Supplies, expand};
use crate::{catalog::CompiledSubscription, outcomes::Reject};

/// Bytes of events and settings in a frame, beyond the first delivery's.
const FRAME_ROOM: usize = FRAME_BYTES / 4 * 3;

/// A frame, and what of the grant is not in it.
pub(super) struct Made {
    /// The frame.
    pub(super) frame: Frame,
    /// The deliveries in it, by position.
    pub(super) positions: Vec<Option<Lent>>,
    /// The others, and why.
    pub(super) rejects: Vec<(u16, Lent, Reject)>,
}

struct Maker<'a> {
    supplies: &'a Supplies,
    sent: &'a mut SentSettings,
    now: Timestamp,
    ids: BytesMut,
    events: Vec<Bytes>,
    places: HashMap<(SegmentId, u8), u32>,
    settings: Vec<SubscriptionSettings>,
    deliveries: Vec<AssignedDelivery>,
    bytes: usize,
}

/// What is known of a run once its first delivery was added.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The key of its settings.
    key: Option<u64>,
    /// When its events were accepted: those of one segment were at one moment.
    accepted_at: Option<Timestamp>,
}

/// Makes the frame of a grant.
pub(super) fn make(
    granted: &Granted,
    lease: LeaseRef,
    supplies: &Supplies,
    sent: &mut SentSettings,
    now: Timestamp,
) -> Made {
    let runs = &granted.grant.runs;
    let count = runs.iter().map(|run| run.indices.len()).sum();
    let mut maker = Maker {
        supplies,
        sent,
        now,
        ids: BytesMut::with_capacity(16 * count),
        events: Vec::new(),
        places: HashMap::new(),
        settings: Vec::new(),
        deliveries: Vec::with_capacity(count),
        bytes: 0,
    };
    let mut positions = Vec::with_capacity(count);
    let mut rejects = Vec::new();
    for run in runs {
        let mut known = Known::default();
        for mut lent in expand(std::slice::from_ref(run)) {
            let position = positions.len() as u16;
            let fate = maker.add(run, &mut lent, position, &mut known);
            positions.push(fate.is_ok().then_some(lent));
            if let Err(reject) = fate {
                rejects.push((position, lent, reject));
            }
        }
    }
    tell(&positions);
    let ids = maker.ids.freeze();
    for (place, delivery) in maker.deliveries.iter_mut().enumerate() {
        delivery.delivery_id = ids.slice(16 * place..16 * (place + 1));
    }
    let frame = Frame::Assign(Assign {
        lease: Bytes::copy_from_slice(&lease.to_bytes()),
        stamp: granted.stamp,
        events: maker.events,
        settings: maker.settings,
        deliveries: maker.deliveries,
    });
    Made {
        frame,
        positions,
        rejects,
    }
}

impl Maker<'_> {
    /// Adds one delivery.
    fn add(
        &mut self,
        run: &Run,
        lent: &mut Lent,
        position: u16,
        of_run: &mut Known,
    ) -> Result<(), Reject> {
        if retry::is_lost_too_often(run.leases_lost) {
            return Err(Reject::LeasesLost);
        }
        let catalog = self.supplies.catalogs.get(&run.tenant);
        let catalog = catalog.and_then(Option::as_ref).ok_or(Reject::HoldBack)?;
        let subscription = catalog.subscriptions.get(&run.subscription);
        let subscription = subscription.ok_or_else(|| {
            match catalog.unreadable.contains_key(&run.subscription) {
                true => Reject::HoldBack,
                false => Reject::SubscriptionDeleted,
            }
        })?;
        let events = self.supplies.segments.get(&run.segment);
        let events = events.and_then(Option::as_ref).ok_or(Reject::HoldBack)?;
        let event = events.get(usize::from(lent.index));
        let event = event.ok_or(Reject::EventExpired)?;
        if event.is_empty() {
            return Err(Reject::EventUnreadable);
        }
        let known = self.places.get(&(run.segment, lent.index)).copied();
        if known.is_none() && self.bytes > 0 && self.bytes + event.len() > FRAME_ROOM {
            return Err(Reject::Release);
        }
        let key = match of_run.key {
            Some(key) => key,
            None => *of_run.key.insert(self.settings_key(run, subscription)?),
        };
        if of_run.accepted_at.is_none() {
            of_run.accepted_at = event::id_of(event).map(EventId::time);
        }
        let place = known.unwrap_or_else(|| {
            let place = self.events.len() as u32;
            self.events.push(event.clone());
            self.bytes += event.len();
            self.places.insert((run.segment, lent.index), place);
            place
        });
        lent.policy = Some(subscription.subscription.retry_policy);
        lent.accepted_at = of_run.accepted_at;
        lent.bytes = u32::try_from(event.len()).unwrap_or(u32::MAX);
        self.ids.extend_from_slice(&lent.id().to_bytes());
        self.deliveries.push(AssignedDelivery {
            event: place,
            settings_key: key,
            attempt: lent.retry.next_number(),
            position: position.into(),
            delivery_id: Bytes::new(),
        });
        Ok(())
    }

    fn settings_key(
        &mut self,
        run: &Run,
        subscription: &CompiledSubscription,
    ) -> Result<u64, Reject> {
        if self.bytes > FRAME_ROOM {
            return Err(Reject::Release);
        }
        let keys = subscription.usable().map_err(|_fault| Reject::HoldBack)?;
        let in_force = keys.iter().filter(|key| key.in_force(self.now)).count();
        let version = subscription.subscription.version;
        let wanted = self
            .sent
            .want(run.tenant, run.subscription, version, in_force);
        if let SettingsUse::Send { key, replaces } = wanted {
            let settings = SubscriptionSettings {
                key,
                replaces,
                ..subscription.settings_at(keys, self.now)
            };
            self.bytes += settings.encoded_len();
            self.settings.push(settings);
        }
        Ok(wanted.key())
    }
}

/// Tells the demonstration, and whoever else follows single deliveries.
fn tell(positions: &[Option<Lent>]) {
    if tracing::enabled!(target: "sidehook::journey", tracing::Level::DEBUG) {
        for lent in positions.iter().flatten() {
            let (delivery, attempt) = (lent.id(), lent.retry.next_number());
            tracing::debug!(target: "sidehook::journey", step = "leased", %delivery, attempt);
            tracing::debug!(target: "sidehook::journey", step = "assigned", %delivery, attempt);
        }
    }
}
