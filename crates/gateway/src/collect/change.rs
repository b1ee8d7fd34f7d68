//! What a client wants of a webhook: read from a body, and laid over a subscription.
//!
//! Null and the empty text take a campaign or a token away. What only the server sets is
//! passed over, so that what was read can be sent back with one thing changed. What Collect
//! has no words for stays: other headers, filters, events that are not Collect's.

use sidehook_api::v1::{self, SubscriptionStatus, signing::Scheme};
use sidehook_core::violation::Violations;

use super::{
    types::{self, TYPES},
    webhook::is_token,
};
use crate::{
    json::{Given, Object},
    problem::Problem,
    settings::DialectSettings,
    subscriptions::Change,
};

/// What only the server sets.
const OF_SERVER: [&str; 2] = ["_id", "createdAt"];
/// Shown instead of a header's value to those who may not see it; refused as a value.
const REDACTED: &str = "[redacted]";

/// A body. Of what it does not have nothing is said; of what it clears the value is
/// empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    url: Option<String>,
    types: Option<Vec<&'static str>>,
    campaign: Option<String>,
    token: Option<String>,
    status: Option<SubscriptionStatus>,
}

impl Wanted {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no object, or everything that is wrong in it.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut wrong = Violations::new();
        let mut object = Object::parse(body)?;
        for name in OF_SERVER {
            object.raw(name, &mut wrong);
        }
        let wanted = Self {
            url: object.text("targetUrl", &mut wrong).value(),
            types: types(&mut object, &mut wrong),
            campaign: cleared(object.text("campaignId", &mut wrong)),
            token: cleared(object.text("secretToken", &mut wrong)),
            status: status(&mut object, &mut wrong),
        };
        if wanted.url.as_ref().is_some_and(|url| url.trim().is_empty()) {
            wrong.add("targetUrl", "must not be empty");
        }
        if wanted.token.as_deref() == Some(REDACTED) {
            let description = "stands for a token that was not shown: give the token itself";
            wrong.add("secretToken", description);
        }
        object.finish(&[], &mut wrong);
        Ok(wrong.into_result(wanted)?)
    }

    /// The subscription that a new webhook is.
    ///
    /// # Errors
    /// It has no URL.
    pub(super) fn create(self, settings: &DialectSettings) -> Result<v1::Subscription, Problem> {
        let Some(url) = self.url else {
            return Err(Problem::field("targetUrl", "is required"));
        };
        let unsigned = v1::Signing {
            scheme: Some(Scheme::Unsigned(v1::UnsignedScheme {})),
            ..v1::Signing::default()
        };
        let token = self.token.unwrap_or_default();
        Ok(v1::Subscription {
            url,
            events: types::new(self.types.as_deref()),
            status: self.status.unwrap_or(SubscriptionStatus::Active).into(),
            signing: Some(unsigned),
            headers: with_token(&[], &token, settings),
            campaign_id: self.campaign.unwrap_or_default(),
            format: v1::DeliveryFormat::Raw.into(),
            retry_policy: Some(v1::RetryPolicy {
                preset: v1::RetryPreset::Collect.into(),
                ..v1::RetryPolicy::default()
            }),
            ..v1::Subscription::default()
        })
    }

    /// What has to change of `current`.
    ///
    /// # Errors
    /// A type cannot be taken away here.
    pub(super) fn lay_over(
        &self,
        current: &v1::Subscription,
        settings: &DialectSettings,
    ) -> Result<Change, Problem> {
        let mut change = Change::default();
        if let Some(url) = &self.url {
            change.patch.url.clone_from(url);
            change.mask.push("url");
        }
        if let Some(given) = &self.types {
            let events = types::replaced(&current.events, given);
            change.patch.events = events.map_err(|name| {
                let description = format!(
                    "`{name}` cannot be taken away here: it comes from an entry for all kinds of \
                     objects, which was made through another API"
                );
                Problem::field("types", description)
            })?;
            change.mask.push("events");
        }
        if let Some(campaign) = &self.campaign {
            change.patch.campaign_id.clone_from(campaign);
            change.mask.push("campaign_id");
        }
        if let Some(token) = &self.token {
            change.patch.headers = with_token(&current.headers, token, settings);
            change.mask.push("headers");
        }
        if let Some(status) = self.status {
            change.patch.set_status(status);
            change.mask.push("status");
        }
        Ok(change)
    }
}

/// Null clears, as the empty text does.
fn cleared(given: Given<String>) -> Option<String> {
    match given {
        Given::Absent => None,
        Given::Null => Some(String::new()),
        Given::Value(text) => Some(text),
    }
}

/// The types, each once.
fn types(object: &mut Object<'_>, wrong: &mut Violations) -> Option<Vec<&'static str>> {
    let names = object.texts("types", wrong).value()?;
    let mut types = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        match types::known(name) {
            Some(known) if types.contains(&known) => {}
            Some(known) => types.push(known),
            None => wrong.add(
                format!("types[{index}]"),
                format!("must be one of {}", TYPES.join(", ")),
            ),
        }
    }
    Some(types)
}

fn status(object: &mut Object<'_>, wrong: &mut Violations) -> Option<SubscriptionStatus> {
    let word = object.text("status", wrong).value()?;
    match word.as_str() {
        "active" => Some(SubscriptionStatus::Active),
        "paused" => Some(SubscriptionStatus::Paused),
        _ => {
            wrong.add("status", "must be active or paused");
            None
        }
    }
}

/// The headers with this token in the place of the one before; without one if it is
/// empty.
fn with_token(current: &[v1::Header], token: &str, settings: &DialectSettings) -> Vec<v1::Header> {
    let mut headers = current.to_vec();
    if token.is_empty() {
        headers.retain(|header| !is_token(header, settings));
        return headers;
    }
    match headers.iter_mut().find(|header| is_token(header, settings)) {
        Some(header) => token.clone_into(&mut header.value),
        None => headers.push(v1::Header {
            name: settings.collect_token_header.clone(),
            value: token.to_owned(),
        }),
    }
    headers
}

#[cfg(test)]
mod tests;
