//! Deliveries as they stand: derived, not stored.
//!
//! How a delivery's state follows from what is stored is told in `derive`.

mod derive;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use sidehook_api::{
    record::{AttemptEntry, encode_retry},
    v1,
};
use sidehook_core::{
    address::{DeliveryId, EventId, SegmentId},
    delivery::DeliveryState,
    id::{SubscriptionId, SubscriptionNumber, TenantId},
    principal::Principal,
    retry::RetryState,
};
use sidehook_store::{
    Store,
    read::{self, Redeliver},
};

use self::derive::{Attempts, Owner, Pair, generations, pairs, undecided};
use crate::{
    catalog::{Catalogs, Compiled},
    errors::OperationError,
    eventlog::{EventLog, Page, Position, stored_events},
    subscriptions::owning,
    tombstones,
};

/// Deliveries that the store is asked for at one time.
const LOCATED: usize = 256;

/// Bytes of response bodies that one delivery is shown with: it travels as one message.
const BODY_BYTES: usize = 2 * 1024 * 1024;

/// The operations.
#[derive(Clone)]
pub struct Deliveries {
    store: Arc<dyn Store>,
    catalogs: Catalogs,
    log: EventLog,
}

impl core::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Deliveries")
    }
}

/// Which deliveries a list shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryFilter {
    /// Only this subscription's.
    pub subscription: Option<SubscriptionNumber>,
    /// Only this event's.
    pub event: Option<EventId>,
    /// Only in this state.
    pub state: Option<DeliveryState>,
}

impl Deliveries {
    /// Reads from and writes to `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, catalogs: Catalogs) -> Self {
        let log = EventLog::new(Arc::clone(&store));
        Self {
            store,
            catalogs,
            log,
        }
    }

    /// A delivery with its attempts; of very many attempts only the latest with their
    /// bodies.
    ///
    /// # Errors
    /// It is not there (any more), or the store's.
    pub async fn get(
        &self,
        tenant: TenantId,
        id: DeliveryId,
    ) -> Result<v1::Delivery, OperationError> {
        let generations = self.generations(tenant, id).await?;
        let found = generations.into_iter().find(|(known, _)| *known == id);
        let (_, mut delivery) = found.ok_or_else(|| unknown(id))?;
        let mut bytes = 0;
        for attempt in delivery.attempts.iter_mut().rev() {
            bytes += attempt.response_body.len();
            if bytes > BODY_BYTES {
                attempt.response_body = Bytes::new();
            }
        }
        Ok(delivery)
    }

    /// Delivers once more what `id` delivered; answers the new delivery.
    ///
    /// # Errors
    /// It is not there, has not ended, has no subscription any more or somebody else's, or
    /// the store's.
    pub async fn retry(
        &self,
        who: &Principal,
        id: DeliveryId,
    ) -> Result<v1::Delivery, OperationError> {
        let tenant = who.tenant;
        let generations = self.generations(tenant, id).await?;
        if !generations.iter().any(|(known, _)| *known == id) {
            return Err(unknown(id));
        }
        let (latest, delivery) = generations
            .into_iter()
            .next_back()
            .ok_or_else(|| unknown(id))?;
        if !is_final(&delivery) {
            return Err(not_ended(&delivery));
        }
        let compiled = self.catalogs.fresh(tenant).await?;
        let number = id.subscription();
        let subscription = compiled.id_of(number).ok_or_else(no_subscription)?;
        let readable = compiled.subscriptions.get(&number);
        let owner = readable.map(|compiled| compiled.subscription.owner.as_str());
        owning::check(who, subscription, owner)?;
        let next = latest.next_generation().ok_or_else(too_many)?;
        let redeliver = Redeliver {
            tenant,
            delivery: next,
            subscription: next.subscription(),
            retry: encode_retry(&RetryState::default()),
        };
        if !self.store.redeliver(&redeliver).await? {
            return Err(no_subscription());
        }
        Ok(v1::Delivery {
            id: next.to_string(),
            generation: next.generation().into(),
            state: v1::DeliveryState::Queued.into(),
            attempts: Vec::new(),
            attempt_count: 0,
            next_attempt_at: None,
            reason: String::new(),
            ..delivery
        })
    }

    /// A page of deliveries, newest event first, each with its latest attempt.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        tenant: TenantId,
        from: Option<Position>,
        size: usize,
        filter: &DeliveryFilter,
    ) -> Result<Page<v1::Delivery>, OperationError> {
        let compiled = self.catalogs.fresh(tenant).await?;
        let mut walk = self.log.walk(tenant, from.or_else(|| only_segment(filter)));
        let mut items = Vec::new();
        'page: while !walk.is_over() {
            for (id, segment) in walk.segments().await? {
                if !walk.enter_segment() {
                    break 'page;
                }
                let pairs = segment.map_or_else(|| Ok(Vec::new()), |found| pairs(id, found))?;
                let mut passed = core::mem::take(&mut walk.position.passed) as usize;
                while passed < pairs.len() {
                    if items.len() >= size || walk.budget == 0 {
                        walk.position.passed = u32::try_from(passed).unwrap_or(u32::MAX);
                        break 'page;
                    }
                    let wanted = next_pairs(
                        &pairs[passed..],
                        size - items.len(),
                        &mut walk.budget,
                        filter,
                    );
                    let (examined, wanted) = wanted;
                    for (pair, generations) in self.states(tenant, &compiled, wanted).await? {
                        let shown = generations.into_iter().map(|(_, delivery)| delivery);
                        let before = items.len();
                        items.extend(shown.filter(|one| in_state(filter, one)).map(short));
                        if items.len() > size && before > 0 {
                            // All generations of a pair stand on one page.
                            items.truncate(before);
                            walk.position.passed = pair.entry;
                            break 'page;
                        }
                    }
                    passed += examined;
                }
                walk.position.leave_segment();
            }
        }
        Ok(walk.page(items).await?)
    }

    /// All generations of a delivery's pair, oldest first.
    async fn generations(
        &self,
        tenant: TenantId,
        id: DeliveryId,
    ) -> Result<Vec<(DeliveryId, v1::Delivery)>, OperationError> {
        let segment_id = id.segment().ok_or_else(|| unknown(id))?;
        let segment = self.log.segment(tenant, segment_id).await?;
        let pairs = pairs(segment_id, segment.ok_or_else(|| unknown(id))?)?;
        let mut pairs = pairs.into_iter();
        let pair = pairs
            .find(|pair| pair.index == id.index() && pair.subscription == id.subscription())
            .ok_or_else(|| unknown(id))?;
        let compiled = self.catalogs.fresh(tenant).await?;
        let mut states = self.states(tenant, &compiled, vec![pair]).await?;
        Ok(states.pop().map_or_else(Vec::new, |(_, all)| all))
    }

    /// The generations of each pair as they stand, oldest first.
    async fn states(
        &self,
        tenant: TenantId,
        compiled: &Compiled,
        pairs: Vec<Pair>,
    ) -> Result<Vec<(Pair, Vec<(DeliveryId, v1::Delivery)>)>, OperationError> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let mut attempts = self.attempts(&pairs).await?;
        let open: Vec<_> = pairs
            .iter()
            .flat_map(|pair| undecided(pair, attempts.get(&pair.key())))
            .collect();
        let mut located = HashMap::with_capacity(open.len());
        for ids in open.chunks(LOCATED) {
            let found = self.store.locate(tenant, ids).await?;
            located.extend(ids.iter().copied().zip(found));
        }
        attempts.extend(self.attempts(&pairs).await?);
        let owners = self.owners(tenant, compiled, &pairs).await?;
        let states = pairs.into_iter().map(|pair| {
            let attempts = attempts.remove(&pair.key()).unwrap_or_default();
            let owner = owners.get(&pair.subscription).copied();
            let owner = owner.unwrap_or(Owner::Deleted(None));
            let generations = generations(&pair, attempts, &located, owner);
            (pair, generations)
        });
        Ok(states.collect())
    }

    /// The subscriptions of these pairs, there or deleted.
    async fn owners(
        &self,
        tenant: TenantId,
        compiled: &Compiled,
        pairs: &[Pair],
    ) -> Result<HashMap<SubscriptionNumber, Owner>, OperationError> {
        let numbers: HashSet<_> = pairs.iter().map(|pair| pair.subscription).collect();
        let there = |number: &SubscriptionNumber| compiled.id_of(*number).map(Owner::There);
        let gone = numbers.iter().copied();
        let gone = gone.filter(|number| there(number).is_none());
        let gone = tombstones::find(&*self.store, tenant, gone).await?;
        let owner = |number| {
            let deleted = || Owner::Deleted(gone.get(&number).copied());
            (number, there(&number).unwrap_or_else(deleted))
        };
        Ok(numbers.into_iter().map(owner).collect())
    }

    /// What a deleted subscription was called, while the log may hold deliveries of it.
    ///
    /// # Errors
    /// The store's.
    pub async fn deleted(
        &self,
        tenant: TenantId,
        number: SubscriptionNumber,
    ) -> Result<Option<SubscriptionId>, OperationError> {
        let found = tombstones::find(&*self.store, tenant, [number]).await?;
        Ok(found.get(&number).copied())
    }

    /// The attempts of these pairs, and of no others.
    async fn attempts(&self, pairs: &[Pair]) -> Result<Attempts, OperationError> {
        let wanted: HashSet<_> = pairs.iter().map(Pair::key).collect();
        let asked = pairs.iter().map(|pair| read::Pair {
            segment: pair.segment,
            index: pair.index,
            subscription: pair.subscription,
        });
        let mut attempts = Attempts::new();
        for record in self.store.attempts(&asked.collect::<Vec<_>>()).await? {
            let entry = match AttemptEntry::decode(record) {
                Ok(entry) => entry,
                Err(error) => {
                    tracing::error!(%error, "an attempt is left out of what is shown");
                    continue;
                }
            };
            let id = entry.delivery_id;
            let Some(segment) = id.segment() else {
                continue;
            };
            let key = (segment, id.index(), id.subscription());
            if wanted.contains(&key) {
                attempts.entry(key).or_default().push(entry);
            }
        }
        Ok(attempts)
    }

    /// The event of a delivery, as text; empty if it has left the log.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn event_ids(
        &self,
        tenant: TenantId,
        segment: SegmentId,
    ) -> Result<BTreeMap<u8, String>, OperationError> {
        let Some(found) = self.log.segment(tenant, segment).await? else {
            return Ok(BTreeMap::new());
        };
        stored_events(found)
            .map(|stored| {
                let (index, stored) = stored?;
                Ok((index, sidehook_api::event::to_proto(&stored)?.id))
            })
            .collect()
    }
}

/// The position that shows one event's segment and nothing else.
fn only_segment(filter: &DeliveryFilter) -> Option<Position> {
    let segment = filter.event?.segment()?;
    Some(Position::of(segment))
}

fn wants(filter: &DeliveryFilter, pair: &Pair) -> bool {
    filter
        .subscription
        .is_none_or(|wanted| wanted == pair.subscription)
        && filter
            .event
            .is_none_or(|wanted| wanted.to_string() == pair.event_id)
}

/// The first of `pairs` that the filter wants, at most `max`, and how many had to be
/// examined for that.
fn next_pairs(
    pairs: &[Pair],
    max: usize,
    budget: &mut usize,
    filter: &DeliveryFilter,
) -> (usize, Vec<Pair>) {
    let mut wanted = Vec::new();
    let mut examined = 0;
    for pair in pairs.iter().take(*budget) {
        if wanted.len() == max {
            break;
        }
        examined += 1;
        if wants(filter, pair) {
            wanted.push(pair.clone());
        }
    }
    *budget -= examined;
    (examined, wanted)
}

fn in_state(filter: &DeliveryFilter, delivery: &v1::Delivery) -> bool {
    let is = |wanted| v1::DeliveryState::from(wanted) == delivery.state();
    filter.state.is_none_or(is)
}

/// As in a list: of the attempts the latest, and of that not what the receiver said.
fn short(mut delivery: v1::Delivery) -> v1::Delivery {
    delivery.last_attempt = delivery.attempts.pop().map(|mut attempt| {
        attempt.response_body = Bytes::new();
        attempt
    });
    delivery.attempts = Vec::new();
    delivery
}

fn is_final(delivery: &v1::Delivery) -> bool {
    DeliveryState::try_from(delivery.state()).is_ok_and(DeliveryState::is_final)
}

fn unknown(id: DeliveryId) -> OperationError {
    OperationError::not_found("delivery", id)
}

fn not_ended(delivery: &v1::Delivery) -> OperationError {
    OperationError::Precondition {
        reason: "DELIVERY_NOT_ENDED",
        message: format!(
            "the delivery `{}` of this event has not ended yet: it will be attempted anyway",
            delivery.id
        ),
    }
}

fn no_subscription() -> OperationError {
    OperationError::Precondition {
        reason: "SUBSCRIPTION_DELETED",
        message: "the delivery's subscription was deleted, or its event has left the log: \
                  publish the event again"
            .to_owned(),
    }
}

fn too_many() -> OperationError {
    OperationError::Precondition {
        reason: "TOO_MANY_REDELIVERIES",
        message: "this event was delivered again too often: publish it again".to_owned(),
    }
}
