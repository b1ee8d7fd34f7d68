//! Why a subscription wants an event or does not.
//!
//! The answer is about the subscription as it is now, by the very rules that publishing
//! goes by; only what was matched when an event of the log was published is read from
//! its record. What stands in the way is looked for in this order, and the first is told:
//!
//! | what | why there |
//! |---|---|
//! | the record cannot be read | nothing else is known of it |
//! | the event is a test | it was addressed |
//! | created later, paused | then nothing of it is matched at all |
//! | type, campaign | cheap, and without them no filter is evaluated |
//! | filter | each node tells what it found |

use sidehook_api::v1::{self, MatchVerdict};
use sidehook_core::{
    event::{Event, TEST_OBJECT_TYPE},
    filter::Unexplained,
    id::{SubscriptionNumber, TenantId},
    matching::{Pattern, is_in_scope},
    subscription::Subscription,
    time::Timestamp,
};

use crate::{filters::verdict, subscriptions::Listed};

/// What is to be explained.
#[derive(Debug)]
pub(crate) struct Subject {
    event: Event,
    /// What filters see of it.
    json: String,
    logged: Option<Logged>,
}

/// What the log knows of an event.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) accepted_at: Timestamp,
    pub(crate) matches: Vec<SubscriptionNumber>,
}

impl Subject {
    pub(crate) fn new(event: Event, tenant: TenantId, logged: Option<Logged>) -> Self {
        Self {
            json: event.to_json(tenant),
            event,
            logged,
        }
    }

    /// Why `one` wants it or does not.
    pub(crate) fn explain(&self, one: &Listed) -> v1::EventExplanation {
        let id = one.place().1;
        let logged = self.logged.as_ref();
        let was_matched = logged.is_some_and(|logged| logged.matches.contains(&id.number()));
        let (verdict, patterns) = match one {
            Listed::Unreadable(_) => (MatchVerdict::Unreadable, Vec::new()),
            Listed::Readable(compiled) => self.judge(&compiled.subscription),
        };
        v1::EventExplanation {
            subscription_id: id.to_string(),
            verdict: verdict.into(),
            was_matched,
            patterns,
        }
    }

    fn judge(&self, subscription: &Subscription) -> (MatchVerdict, Vec<v1::PatternExplanation>) {
        let event = &self.event;
        let (object_type, action) = (event.object_type.as_str(), event.action.as_str());
        let logged = self.logged.as_ref();
        let fitting: Vec<_> = (0_u32..)
            .zip(&subscription.events)
            .filter(|(_, pattern)| pattern.matches(object_type, action))
            .collect();
        let verdict = if object_type == TEST_OBJECT_TYPE.as_str() {
            MatchVerdict::TestEvent
        } else if logged.is_some_and(|logged| logged.accepted_at < subscription.created_at) {
            MatchVerdict::CreatedLater
        } else if !subscription.status.is_active() {
            MatchVerdict::Paused
        } else if fitting.is_empty() {
            MatchVerdict::OtherType
        } else if !is_in_scope(&subscription.campaign_id, &event.campaign_id) {
            MatchVerdict::OtherCampaign
        } else {
            // Publishing does not evaluate a filter beside an entry that wants all of the same.
            let wants_all = |one: &Pattern| {
                let mut unfiltered = fitting.iter().map(|(_, other)| other);
                unfiltered.any(|other| {
                    let is_same =
                        (&other.object_type, &other.action) == (&one.object_type, &one.action);
                    other.extra_filter.is_none() && is_same
                })
            };
            let mut verdict = MatchVerdict::Filtered;
            if fitting.iter().any(|(_, one)| one.extra_filter.is_none()) {
                verdict = MatchVerdict::Matched;
            }
            let mut patterns = Vec::new();
            for (index, pattern) in &fitting {
                let Some(filter) = &pattern.extra_filter else {
                    continue;
                };
                if wants_all(pattern) {
                    continue;
                }
                let found = filter.explain(&self.json);
                let is_costly = matches!(found, Err(Unexplained::TooCostly(_)));
                let verdicts = found.unwrap_or_default();
                let holds = verdicts
                    .first()
                    .is_some_and(|root| root.holds == Some(true));
                if is_costly {
                    verdict = MatchVerdict::TooCostly;
                } else if holds && verdict == MatchVerdict::Filtered {
                    verdict = MatchVerdict::Matched;
                }
                patterns.push(v1::PatternExplanation {
                    index: *index,
                    holds,
                    verdicts: verdicts.into_iter().map(self::verdict).collect(),
                });
            }
            return (verdict, patterns);
        };
        (verdict, Vec::new())
    }
}
