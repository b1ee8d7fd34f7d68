//! Operations on subscriptions.
//!
//! Every change keeps what a later version wrote beside it and this one does not know
//! ([`change_subscription`]). It is read, changed in memory, and written on the condition that nobody
//! was faster. With the caller's etag a faster change ends the operation; without one
//! it is repeated on what is there now, which for a field mask is what the caller
//! meant (`race`). A write whose answer was lost is repeated as it was: the store knows its
//! nonce. Reading always asks the store, so a client sees its own writes on whichever
//! replica it comes to.

use core::time::Duration;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use sidehook_api::{
    record::{StoredSubscription, change_subscription, encode_subscription},
    subscription::{apply_update, create, names_algorithm},
    v1,
};
use sidehook_core::{
    id::{SubscriptionId, TenantId},
    limits::IN_FLIGHT_MAX,
    matching::filter_bytes,
    principal::Principal,
    subscription::{Status, Subscription},
    time::Timestamp,
    version::Version,
};
use sidehook_store::{
    Store, StoreError,
    catalog::{Bounds, Change, Expect, QueueSettings, Write, Written},
};

use crate::{
    allowances::Allowances,
    catalog::{self, Catalogs, Compiled, CompiledSubscription},
    errors::OperationError,
    sealing::Sealer,
    signing_keys::{self, ManagedKey},
    tombstones,
};

mod automatic;
mod health;
pub(crate) mod owning;
mod race;
mod reading;
mod room;
mod view;

use race::Race;
pub use room::Condition;
pub use view::{Keyed, Listed};

/// How many numbers are tried for a new subscription.
const NUMBERS: usize = 64;
/// How long to wait before a write that may have been lost is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// The operations.
#[derive(Clone)]
pub struct Subscriptions {
    store: Arc<dyn Store>,
    catalogs: Catalogs,
    allowances: Allowances,
    sealer: Arc<Sealer>,
    longest_total: Duration,
}

impl core::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Subscriptions")
    }
}

impl Subscriptions {
    /// Operations on what lies in `store`. `longest_total` is the longest time limit of
    /// an attempt that this server's leases leave room for.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        catalogs: Catalogs,
        allowances: Allowances,
        sealer: Arc<Sealer>,
        longest_total: Duration,
    ) -> Self {
        Self {
            store,
            catalogs,
            allowances,
            sealer,
            longest_total,
        }
    }

    /// The longest time limit of an attempt that this server's leases leave room for.
    #[must_use]
    pub const fn longest_total(&self) -> Duration {
        self.longest_total
    }

    /// Creates a subscription; a signing key is generated if `secret` is empty. With an
    /// `active_limit` other than 0 no more than that many are active then.
    ///
    /// # Errors
    /// Wrong fields, an owner whom only an admin may name, no room, or the store's.
    pub async fn create(
        &self,
        who: &Principal,
        proto: &v1::Subscription,
        secret: &str,
        active_limit: u32,
    ) -> Result<Keyed, OperationError> {
        let now = self.store.now().await?;
        let most = self.allowances.fresh(who.tenant).await?.subscriptions;
        let (mut race, mut taken) = (Race::default(), 0);
        while taken < NUMBERS {
            // The number in it must be new: another id if it is not.
            let id = SubscriptionId::from_bits(rand::random());
            let mut subscription = create(proto, id, &who.subject, now)?;
            owning::check_given(who, &subscription.owner)?;
            self.check_total(&subscription)?;
            if !names_algorithm(proto) {
                subscription.signing = signing_keys::led_by(secret, &subscription.signing);
            }
            let keys = signing_keys::first(&subscription.signing, secret, "signing_secret", now)?;
            let keyed = Keyed {
                subscription,
                keys,
                unopened: None,
                foreign: None,
            };
            let bounds = self.bounds(who.tenant, &keyed.subscription, active_limit);
            let mut bounds = bounds.await?;
            bounds.most = most;
            match self.put(who.tenant, &keyed, Expect::Absent, bounds).await? {
                Written::Done(version) => return Ok(keyed.at(version)),
                Written::Conflict { .. } => taken += 1,
                Written::Overtaken => race.lost().await?,
                Written::TooMany => return Err(room::full(most)),
            }
        }
        let detail = "no free subscription number was found";
        Err(OperationError::Internal(detail.to_owned()))
    }

    /// The bounds under which this one is added.
    async fn bounds(
        &self,
        tenant: TenantId,
        added: &Subscription,
        active_limit: u32,
    ) -> Result<Bounds, OperationError> {
        if active_limit == 0 && filter_bytes(&added.events) == 0 {
            return Ok(Bounds::default());
        }
        room::bounds(
            &*self.catalogs.fresh(tenant).await?,
            None,
            added,
            active_limit,
        )
    }

    /// Lays the fields of `patch` that `mask` names over a subscription. When its kind
    /// of signing changes it gets a new key; the old ones fit no longer. A `secret` takes
    /// the place of all keys; it is given none if it is empty.
    ///
    /// # Errors
    /// Wrong fields, not there, a wrong etag, or the store's.
    pub async fn update(
        &self,
        who: &Principal,
        id: SubscriptionId,
        condition: impl Into<Condition>,
        patch: &v1::Subscription,
        mask: &[String],
        secret: &str,
    ) -> Result<Keyed, OperationError> {
        let change = |current: &Keyed, now| {
            let mut subscription = apply_update(&current.subscription, patch, mask)?;
            if subscription.timeouts.total() != current.subscription.timeouts.total() {
                self.check_total(&subscription)?;
            }
            if !secret.is_empty() && !names_algorithm(patch) {
                subscription.signing = signing_keys::led_by(secret, &subscription.signing);
            }
            let (before, after) = (&current.subscription.signing, &subscription.signing);
            let keys = if secret.is_empty() {
                signing_keys::carried_over(before, after, &current.keys, now)?
            } else {
                signing_keys::first(after, secret, "signing_secret", now)?
            };
            Ok(Some(Keyed {
                subscription,
                keys,
                unopened: current.unopened.clone().filter(|_| secret.is_empty()),
                foreign: current.foreign.clone(),
            }))
        };
        let changed = self.change(who.tenant, Some(who), id, condition.into(), change);
        Ok(changed.await?.0)
    }

    /// Sets whether it delivers; setting what is set already changes nothing.
    ///
    /// # Errors
    /// Nothing to match though it is to deliver, not there, a wrong etag, or the store's.
    pub async fn set_paused(
        &self,
        who: &Principal,
        id: SubscriptionId,
        condition: impl Into<Condition>,
        paused: bool,
    ) -> Result<Keyed, OperationError> {
        let change = |current: &Keyed, _| {
            let before = current.subscription.status;
            let after = if paused {
                before.paused_by_api()
            } else if current.subscription.events.is_empty() {
                return Err(no_events());
            } else {
                Status::Active
            };
            Ok((after != before).then(|| current.with_status(after)))
        };
        let changed = self.change(who.tenant, Some(who), id, condition.into(), change);
        Ok(changed.await?.0)
    }

    /// Makes a new signing key; the present ones go on for `overlap`, unless one of them
    /// does not open: then all give way to it. If `secret` is
    /// empty it is generated, and of the newest key's kind.
    ///
    /// # Errors
    /// A wrong secret, keys that are not managed here, too many, not there, a wrong
    /// etag, or the store's.
    pub async fn rotate(
        &self,
        who: &Principal,
        id: SubscriptionId,
        etag: Option<Version>,
        secret: &str,
        overlap: Duration,
    ) -> Result<Keyed, OperationError> {
        let change = |current: &Keyed, now| {
            let mut subscription = current.subscription.clone();
            let newest = current.keys.first().map(|key| key.secret.expose_secret());
            let lead = newest.filter(|_| secret.is_empty()).unwrap_or(secret);
            if !lead.is_empty() {
                subscription.signing = signing_keys::led_by(lead, &subscription.signing);
            }
            let signing = &subscription.signing;
            let keys = signing_keys::rotated(signing, &current.keys, secret, overlap, now)?;
            Ok(Some(Keyed {
                subscription,
                keys,
                unopened: None,
                foreign: current.foreign.clone(),
            }))
        };
        let changed = self.change(who.tenant, Some(who), id, etag.into(), change);
        Ok(changed.await?.0)
    }

    /// Deletes one; what was queued for it is cancelled.
    ///
    /// # Errors
    /// Somebody else's, not there, a wrong etag, or the store's.
    pub async fn delete(
        &self,
        who: &Principal,
        id: SubscriptionId,
        etag: Option<Version>,
    ) -> Result<(), OperationError> {
        let (tenant, mut race) = (who.tenant, Race::default());
        loop {
            let (current, owner) = self.version_and_owner(tenant, id).await?;
            owning::check(who, id, owner.as_deref())?;
            check_etag(etag, current)?;
            tombstones::set(&*self.store, tenant, id).await?;
            let write = Write {
                tenant,
                number: id.number(),
                expect: Expect::Version(current),
                bounds: Bounds::default(),
                nonce: rand::random(),
                change: Change::Delete,
            };
            if let Written::Done(_) = self.write(&write).await? {
                return Ok(());
            }
            race.lost().await?;
        }
    }

    /// `change` answers the new state, or `None` if there is nothing to change; this
    /// answers the state, and whether it is new. A change is somebody's, who must have the
    /// right to it and is noted, or the server's own (`None`).
    async fn change(
        &self,
        tenant: TenantId,
        who: Option<&Principal>,
        id: SubscriptionId,
        condition: Condition,
        change: impl Fn(&Keyed, Timestamp) -> Result<Option<Keyed>, OperationError>,
    ) -> Result<(Keyed, bool), OperationError> {
        let mut race = Race::default();
        loop {
            let catalog = self.catalogs.fresh(tenant).await?;
            let mut current = Keyed::from(&*find(&catalog, id)?);
            let version = current.subscription.version;
            if let Some(who) = who {
                owning::check(who, id, Some(&current.subscription.owner))?;
            }
            check_etag(condition.etag, version)?;
            let now = self.store.now().await?;
            current.keys.retain(|key| key.in_force(now));
            let Some(mut changed) = change(&current, now)? else {
                return Ok((current, false));
            };
            if let Some(error) = &changed.unopened {
                // Written back, it would lose the keys that are there.
                return Err(unusable(id, &catalog::fault(error)));
            }
            if let Some(who) = who {
                owning::check_given(who, &changed.subscription.owner)?;
                changed.subscription.touch(&who.subject, now);
            }
            let (before, after) = (&current.subscription, &changed.subscription);
            let bounds = room::bounds(&catalog, Some(before), after, condition.active_limit)?;
            let expect = Expect::Version(version);
            let put = self.put(tenant, &changed, expect, bounds);
            if let Written::Done(version) = put.await? {
                return Ok((changed.at(version), true));
            }
            race.lost().await?;
        }
    }

    async fn put(
        &self,
        tenant: TenantId,
        keyed: &Keyed,
        expect: Expect,
        bounds: Bounds,
    ) -> Result<Written, OperationError> {
        let subscription = &keyed.subscription;
        let seal = |key: &ManagedKey| key.seal(&self.sealer, subscription.id);
        let stored = StoredSubscription {
            subscription: subscription.clone(),
            keys: keyed.keys.iter().map(seal).collect::<Result<_, _>>()?,
        };
        let write = Write {
            tenant,
            number: subscription.id.number(),
            expect,
            bounds,
            nonce: rand::random(),
            change: Change::Put {
                record: match &keyed.foreign {
                    None => encode_subscription(&stored),
                    Some(old) => change_subscription(old, &stored),
                },
                queue: QueueSettings {
                    pool: subscription.pool.resolve(tenant),
                    window: subscription.max_in_flight.min(IN_FLIGHT_MAX),
                    paused: !subscription.status.is_active(),
                },
            },
        };
        Ok(self.write(&write).await?)
    }

    async fn write(&self, write: &Write) -> Result<Written, StoreError> {
        match self.store.write(write).await {
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(REPEAT_AFTER).await;
                self.store.write(write).await
            }
            other => other,
        }
    }

    fn check_total(&self, subscription: &Subscription) -> Result<(), OperationError> {
        if subscription.timeouts.total() <= self.longest_total {
            return Ok(());
        }
        let longest_ms = self.longest_total.as_millis();
        let description = format!(
            "must be at most {longest_ms} ms on this server: an attempt must end before the \
             agent's lease does"
        );
        let field = "subscription.timeouts.total";
        Err(OperationError::field(field, description))
    }
}

/// The subscription with this id. Its number alone is not enough: ids of others share
/// it.
pub(crate) fn find(
    catalog: &Compiled,
    id: SubscriptionId,
) -> Result<Arc<CompiledSubscription>, OperationError> {
    if let Some(unreadable) = catalog.unreadable.get(&id.number())
        && unreadable.is(id)
    {
        return Err(unusable(id, &unreadable.fault));
    }
    catalog
        .subscriptions
        .get(&id.number())
        .filter(|compiled| compiled.subscription.id == id)
        .cloned()
        .ok_or_else(|| OperationError::not_found("subscription", id))
}

/// A subscription that is to deliver has nothing to match.
fn no_events() -> OperationError {
    OperationError::Precondition {
        reason: "NO_EVENTS",
        message: "the subscription has no entry in `events`: give it one and resume it then"
            .to_owned(),
    }
}

/// An operation needs what cannot be read of a subscription.
pub(crate) fn unusable(id: SubscriptionId, fault: &str) -> OperationError {
    OperationError::Precondition {
        reason: "SUBSCRIPTION_UNUSABLE",
        message: format!("subscription `{id}`: {fault}"),
    }
}

fn check_etag(etag: Option<Version>, current: Version) -> Result<(), OperationError> {
    match etag {
        Some(etag) if etag != current => Err(OperationError::EtagMismatch),
        _ => Ok(()),
    }
}
