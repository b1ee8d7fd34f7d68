//! How often each caller may call.
//!
//! Every key (or subject of tokens or certificates) has a bucket of tokens in the store,
//! the same on every replica ([`sidehook_store::rates`]), and each request takes one, also
//! if the caller turns out not to have the right to it. A user's keys have one each. A tenant's
//! limits say how fast it fills ([`Allowances`]).
//!
//! | who calls what | limited |
//! |---|---|
//! | to read and to manage | by `requests_per_second` and `request_burst` |
//! | to publish | by `publish_requests_per_second` if the operator set it: the budgets of bytes are its limit |
//! | an agent, whatever it calls; health checks, reflection | never |
//! | the operator | never: limits must not keep from changing limits |
//!
//! What comes while the store is asked is gathered, and asked in the next call: one call
//! is under way at a time, and has a row for each key, not for each request. No tokens
//! are held in reserve, so the bound is exact.
//!
//! A limit that cannot be asked for is none. While the store does not answer, or not
//! within `PATIENCE`, requests go on to whatever they get without it, which of most is
//! that the store does not answer; and for `AVOIDED` nobody waits for it again.

use core::time::Duration;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use sidehook_api::metadata::RATE_LIMIT;
use sidehook_core::{
    limits::CALL_RECORDS,
    principal::{Principal, Right, Role},
};
use sidehook_runtime::tasks::{OnPanic, TaskKind, Tasks};
use sidehook_store::{
    Store,
    rates::{Rate, Taken, Want},
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout},
};
use tonic::{Status, codegen::http::HeaderMap, metadata::MetadataValue};

use crate::{allowances::Allowances, errors::OperationError};

/// Without it nobody is limited.
const RATES: TaskKind = TaskKind::new("request_rates", OnPanic::Log).background();

/// How long a request waits for its tokens.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long nobody asks a store that did not answer.
const AVOIDED: Duration = Duration::from_secs(1);
/// Metadata of refusals: whole seconds.
const RETRY_AFTER: &str = "retry-after";

const RPCS_LIMITED: &str = "sidehook_rpcs_rate_limited_total";

/// What a caller has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests that it may make at once after a rest.
    limit: u32,
    /// Requests that it may make now.
    remaining: u32,
    /// Until it may make `limit` again.
    reset: Duration,
}

impl Quota {
    /// Tells the caller.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        if let Ok(text) = self.text().parse() {
            headers.insert(RATE_LIMIT, text);
        }
    }

    fn text(self) -> String {
        let Self {
            limit,
            remaining,
            reset,
        } = self;
        let reset = seconds(reset);
        format!("limit={limit}, remaining={remaining}, reset={reset}")
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// What one of many requests of a bucket is told.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Granted(Quota),
    Refused(Quota, Duration),
}

/// Requests that wait for the tokens of one bucket.
struct Waiting {
    want: Want,
    tell: Vec<oneshot::Sender<Verdict>>,
}

#[derive(Default)]
struct Gathered {
    waiting: HashMap<[u8; 16], Waiting>,
    /// Until when the store is not asked.
    avoided: Option<Instant>,
}

struct Shared {
    store: Arc<dyn Store>,
    allowances: Allowances,
    gathered: Mutex<Gathered>,
    come: Notify,
}

/// The limits of all callers.
#[derive(Clone)]
pub struct Rates(Arc<Shared>);

impl core::fmt::Debug for Rates {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rates")
    }
}

impl Rates {
    /// Limits by what `allowances` say, counted in `store`.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, allowances: Allowances, tasks: &Tasks) -> Self {
        metrics::describe_counter!(
            RPCS_LIMITED,
            "RPCs refused because their caller made too many"
        );
        let shared = Arc::new(Shared {
            store,
            allowances,
            gathered: Mutex::default(),
            come: Notify::new(),
        });
        let asking = Arc::clone(&shared);
        tasks.spawn(RATES, async move {
            loop {
                asking.come.notified().await;
                while let Some(batch) = asking.next() {
                    asking.ask(batch).await;
                }
            }
        });
        Self(shared)
    }

    /// Lets a request pass, if its caller has not made too many; what it has left, where
    /// it is limited and that is known. `key` is the digest of the caller's key; who has
    /// none is counted by the subject.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with what the caller is to wait.
    pub async fn admit(
        &self,
        who: &Principal,
        key: Option<&[u8; 32]>,
        right: Right,
    ) -> Result<Option<Quota>, Status> {
        if matches!(who.role, Role::Agent(_) | Role::Operator) {
            return Ok(None);
        }
        let allowance = self.0.allowances.of(who.tenant).await;
        let rate = match right {
            Right::Publish => allowance.publishing,
            _ => Some(allowance.requests),
        };
        let Some(rate) = rate else {
            return Ok(None);
        };
        let want = Want {
            tenant: who.tenant,
            bucket: bucket(who, key, right == Right::Publish),
            rate,
            tokens: 1,
        };
        let Some(answer) = self.0.gather(want) else {
            return Ok(None);
        };
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Verdict::Granted(quota))) => Ok(Some(quota)),
            Ok(Ok(Verdict::Refused(quota, wait))) => {
                metrics::counter!(RPCS_LIMITED).increment(1);
                Err(refusal(quota, rate, wait))
            }
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }
}

/// The name of a caller's bucket.
fn bucket(who: &Principal, key: Option<&[u8; 32]>, publishes: bool) -> [u8; 16] {
    let mut digest = Sha256::new();
    digest.update([u8::from(publishes), u8::from(key.is_some())]);
    digest.update(who.tenant.to_bytes());
    digest.update(key.map_or(who.subject.as_bytes(), <[u8; 32]>::as_slice));
    let digest: [u8; 32] = digest.finalize().into();
    let mut name = [0; 16];
    name.copy_from_slice(&digest[..16]);
    name
}

fn refusal(quota: Quota, rate: Rate, wait: Duration) -> Status {
    let error = OperationError::Exhausted {
        reason: "RATE_LIMITED",
        message: format!(
            "too many requests with this key: it may make {} in a second, and {} at once after \
             a rest",
            rate.per_second, rate.burst
        ),
        retry_after: Some(wait),
    };
    let mut status = Status::from(error);
    let metadata = status.metadata_mut();
    if let Ok(text) = quota.text().parse() {
        metadata.insert(RATE_LIMIT, text);
    }
    metadata.insert(RETRY_AFTER, MetadataValue::from(seconds(wait)));
    status
}

impl Shared {
    /// Has the store asked for a token; `None`: it is not to be asked.
    fn gather(&self, want: Want) -> Option<oneshot::Receiver<Verdict>> {
        let mut gathered = self.gathered.lock();
        if gathered.avoided.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let (tell, answer) = oneshot::channel();
        match gathered.waiting.entry(want.bucket) {
            Entry::Vacant(place) => {
                let tell = vec![tell];
                place.insert(Waiting { want, tell });
            }
            Entry::Occupied(mut place) => {
                let waiting = place.get_mut();
                waiting.want.tokens = waiting.want.tokens.saturating_add(1);
                waiting.tell.push(tell);
            }
        }
        drop(gathered);
        self.come.notify_one();
        Some(answer)
    }

    /// What one call carries.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut gathered = self.gathered.lock();
        let some = gathered.waiting.extract_if(|_, _| true).take(CALL_RECORDS);
        let batch: Vec<_> = some.map(|(_name, waiting)| waiting).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Whom this does not tell anything finds its sender gone, and goes on.
    async fn ask(&self, batch: Vec<Waiting>) {
        let wants: Vec<Want> = batch.iter().map(|waiting| waiting.want).collect();
        match timeout(PATIENCE, self.store.take(None, &wants)).await {
            Ok(Ok(taken)) => {
                for (waiting, taken) in batch.into_iter().zip(taken) {
                    if let Some(taken) = taken {
                        tell(waiting, taken);
                    }
                }
            }
            Ok(Err(error)) => self.avoid(&error.to_string()),
            Err(_) => self.avoid("it takes too long"),
        }
    }

    fn avoid(&self, detail: &str) {
        tracing::debug!(
            detail,
            "the store was not asked for requests' tokens: they go on without"
        );
        let mut gathered = self.gathered.lock();
        gathered.avoided = Some(Instant::now() + AVOIDED);
        gathered.waiting.clear();
    }
}

/// Tells those first that came first.
fn tell(waiting: Waiting, taken: Taken) {
    let limit = waiting.want.rate.burst;
    for (place, tell) in (0_u32..).zip(waiting.tell) {
        let quota = |later: u32| Quota {
            limit,
            remaining: taken.left.saturating_add(later).min(limit),
            reset: taken.full_in,
        };
        let verdict = match taken.granted.checked_sub(place + 1) {
            Some(later) => Verdict::Granted(quota(later)),
            None => Verdict::Refused(quota(0), taken.next_in.max(Duration::from_millis(1))),
        };
        // Who has gone away meanwhile needs no answer.
        let _ = tell.send(verdict);
    }
}

#[cfg(test)]
mod tests {
    use sidehook_core::id::TenantId;
    use sidehook_runtime::drain;
    use sidehook_store::{budget::Budget, model::Model};
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::allowances::Defaults;

    fn rates() -> Rates {
        let store = Arc::new(Model::new());
        let defaults = Defaults {
            budget: Budget::UNLIMITED,
            event_bytes: 1,
        };
        let allowances = Allowances::new(Arc::<Model>::clone(&store), defaults);
        let tasks = Tasks::new(drain::channel().0);
        Rates::start(store, allowances, &tasks)
    }

    fn who(subject: &str, role: Role) -> Principal {
        Principal {
            tenant: TenantId::from_bits(1),
            subject: subject.to_owned(),
            role,
        }
    }

    #[tokio::test]
    async fn of_many_at_one_moment_those_pass_that_have_tokens() {
        let rates = rates();
        let (one, other) = (who("key_1", Role::Admin), who("key_2", Role::Viewer));
        let calls = (0..250).map(|_| rates.admit(&one, None, Right::Read));
        let answers = futures_util::future::join_all(calls).await;
        let (passed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        // Burst, and what comes meanwhile.
        assert!((200..250).contains(&passed.len()), "{}", passed.len());
        let status = refused[0].as_ref().expect_err("refused");
        let details = status.get_error_details();
        assert_eq!(
            details.error_info().expect("a reason").reason,
            "RATE_LIMITED"
        );
        let wait = details.retry_info().expect("a time").retry_delay;
        assert!(wait.is_some_and(|wait| wait <= Duration::from_millis(10)));
        let metadata = status.metadata();
        assert_eq!(metadata.get(RETRY_AFTER).expect("told"), "1");
        let told = metadata.get(RATE_LIMIT).expect("told").to_str();
        assert_eq!(told.expect("text"), "limit=200, remaining=0, reset=2");
        let first = passed[0].as_ref().expect("passed").expect("limited");
        assert_eq!((first.limit, first.remaining), (200, 199));
        let quota = rates
            .admit(&other, None, Right::Manage)
            .await
            .expect("its own");
        assert_eq!(quota.expect("limited").remaining, 199);
        for key in [[1; 32], [2; 32]] {
            let quota = rates.admit(&one, Some(&key), Right::Read).await;
            let quota = quota.expect("one for each key of a user").expect("limited");
            assert_eq!(quota.remaining, 199);
        }
    }

    #[tokio::test]
    async fn agents_operators_and_publishers_are_not_counted() {
        let rates = rates();
        let pool = sidehook_core::pool::Pool {
            owner: TenantId::from_bits(1),
            name: "default".to_owned(),
        };
        for (role, right) in [
            (Role::Agent(pool), Right::Work),
            (Role::Operator, Right::Operate),
            (Role::Operator, Right::ObserveAgents),
            (Role::Publisher, Right::Publish),
        ] {
            let who = who("somebody", role);
            for _ in 0..300 {
                let passed = rates.admit(&who, None, right).await;
                assert_eq!(passed.expect("not limited"), None);
            }
        }
    }
}
