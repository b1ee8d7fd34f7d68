//! `ExplainEvent` of `WebhookService`.

use core::time::Duration;

use prost::Message as _;
use sidehook_api::{
    event::{decode, from_proto, kept, to_proto},
    time::read_timestamp,
    v1,
};
use sidehook_core::{address::EventId, id::TenantId, violation::Violations};
use tokio::time::Instant;

use super::{
    parse::id,
    webhooks::{PAGE_BYTES, Webhooks, read_place, write_place},
};
use crate::{
    errors::OperationError,
    explain::{Logged, Subject},
    paging::{List, page_size},
    subscriptions::Listed,
    turns::TURNS,
};

/// Subscriptions on a page, unless asked otherwise and at most.
const PAGE: (usize, usize) = (20, 100);
/// After how long a page ends, whatever it has: filters may take some tens of milliseconds
/// each.
const PAGE_TIME: Duration = Duration::from_millis(500);

impl Webhooks {
    /// Explains an event for a page of subscriptions.
    ///
    /// # Errors
    /// Wrong fields, an event that is not in the log, or the store's.
    pub(super) async fn explain(
        &self,
        tenant: TenantId,
        request: v1::ExplainEventRequest,
    ) -> Result<v1::ExplainEventResponse, OperationError> {
        let list = List {
            name: "explanations",
            tenant,
            filters: &[&request.event_id],
        };
        let mut violations = Violations::new();
        let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
        let after = list.position(&request.page_token, &mut violations, read_place);
        violations.require(
            request.event_id.is_empty() == request.event.is_some(),
            "event_id",
            "give either an event of the log or an `event`",
        );
        violations.into_result(())?;
        let subject = match request.event {
            Some(event) => {
                let payload_max = self.publishing.payload_max(tenant).await;
                let event = from_proto(event, payload_max);
                let event = event.map_err(|wrong| OperationError::from(wrong).under("event"))?;
                Subject::new(event, tenant, None)
            }
            None => self.logged(tenant, &request.event_id).await?,
        };
        let all = self.subscriptions.all(tenant).await?;
        let start = all.partition_point(|one| after.is_some_and(|after| one.place() <= after));
        let rest = all.len() - start;
        let page: Vec<Listed> = all.into_iter().skip(start).take(size).collect();
        let explanations = explained(tenant, subject, page.clone()).await?;
        let last = page.get(explanations.len().wrapping_sub(1));
        let last = last.filter(|_| explanations.len() < rest);
        Ok(v1::ExplainEventResponse {
            next_page_token: last
                .map_or_else(String::new, |last| list.token(&write_place(last.place()))),
            explanations,
        })
    }

    async fn logged(&self, tenant: TenantId, text: &str) -> Result<Subject, OperationError> {
        let event: EventId = id(text, "event_id")?;
        let stored = decode(self.log.event(tenant, event).await?)?;
        let proto = to_proto(&stored)?;
        let accepted_at = proto.accepted_at.as_ref().and_then(read_timestamp);
        let logged = Logged {
            accepted_at: accepted_at.unwrap_or_default(),
            matches: stored.matches,
        };
        Ok(Subject::new(kept(proto), tenant, Some(logged)))
    }
}

/// Explanations of the first of these, as many as an answer has room and time for.
async fn explained(
    tenant: TenantId,
    subject: Subject,
    page: Vec<Listed>,
) -> Result<Vec<v1::EventExplanation>, OperationError> {
    let turn = TURNS.take(tenant).await?;
    let explaining = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let begun = Instant::now();
        let (mut explanations, mut bytes) = (Vec::new(), 0);
        for one in &page {
            let explanation = subject.explain(one);
            bytes += explanation.encoded_len();
            if bytes > PAGE_BYTES && !explanations.is_empty() {
                break;
            }
            explanations.push(explanation);
            if begun.elapsed() > PAGE_TIME {
                break;
            }
        }
        explanations
    });
    explaining.await.map_err(|error| {
        OperationError::Internal(format!("an event could not be explained: {error}"))
    })
}
