//! `sidehook event`: the event log.

use serde_json::{Value, json};
use sidehook_api::v1::{
    self, event_service_client::EventServiceClient, webhook_service_client::WebhookServiceClient,
};

use super::{
    Failure, Global,
    channel::{Api, connect, pages},
    filter,
    render::{document, event as as_json, list, moment, word},
};

/// Largest page of events.
const PAGE: u32 = 100;
/// Largest page of explanations.
const EXPLANATIONS: u32 = 100;

/// Commands on events.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show one event, as JSON
    Get {
        /// The event's id
        id: String,
    },
    /// Tell for each subscription why it wants an event of the log or does not
    Explain {
        /// The event's id
        id: String,
        /// At most this many subscriptions, oldest first
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// List events, newest first
    List {
        /// Only this kind of object
        #[arg(long)]
        object_type: Option<String>,
        /// Only this action
        #[arg(long)]
        action: Option<String>,
        /// Only this object
        #[arg(long)]
        object_id: Option<String>,
        /// Only of this user
        #[arg(long)]
        user_id: Option<String>,
        /// Only about this lead
        #[arg(long)]
        lead_id: Option<String>,
        /// Only caused by this request
        #[arg(long)]
        request_id: Option<String>,
        /// Only of this campaign
        #[arg(long)]
        campaign_id: Option<String>,
        /// Only accepted at this time or later, as 2026-11-21T17:40:00Z
        #[arg(long, value_name = "TIME")]
        from: Option<prost_types::Timestamp>,
        /// Only accepted before this time
        #[arg(long, value_name = "TIME")]
        before: Option<prost_types::Timestamp>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

/// Runs `command`.
pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let api = connect(global).await?;
    let mut client = EventServiceClient::new(api.clone());
    let (filter, limit) = match command {
        Command::Get { id } => {
            let event = client
                .get_event(v1::GetEventRequest { id })
                .await?
                .into_inner()
                .event;
            return document(&as_json(&event.unwrap_or_default()));
        }
        Command::Explain { id, limit } => return explain(api, id, limit, global).await,
        Command::List {
            object_type,
            action,
            object_id,
            user_id,
            lead_id,
            request_id,
            campaign_id,
            from,
            before,
            limit,
        } => {
            let filter = v1::ListEventsRequest {
                object_type: object_type.unwrap_or_default(),
                action: action.unwrap_or_default(),
                object_id: object_id.unwrap_or_default(),
                user_id: user_id.unwrap_or_default(),
                lead_id: lead_id.unwrap_or_default(),
                request_id: request_id.unwrap_or_default(),
                campaign_id: campaign_id.unwrap_or_default(),
                accepted_from: from,
                accepted_before: before,
                ..v1::ListEventsRequest::default()
            };
            (filter, limit)
        }
    };
    let events = pages(limit, PAGE, |page_size, page_token| {
        let request = v1::ListEventsRequest {
            page_size,
            page_token,
            ..filter.clone()
        };
        let mut client = client.clone();
        async move {
            let page = client.list_events(request).await?.into_inner();
            Ok((page.events, page.next_page_token))
        }
    })
    .await?;
    list(
        global.output,
        &events,
        as_json,
        &["ID", "EVENT", "OBJECT", "ACCEPTED"],
        |event| {
            vec![
                event.id.clone(),
                format!("{}:{}", event.object_type, event.action),
                event.object_id.clone(),
                moment(event.accepted_at.as_ref()),
            ]
        },
    )
}

async fn explain(api: Api, event_id: String, limit: u32, global: &Global) -> Result<(), Failure> {
    let client = WebhookServiceClient::new(api);
    let found = pages(limit, EXPLANATIONS, |page_size, page_token| {
        let request = v1::ExplainEventRequest {
            event_id: event_id.clone(),
            page_size,
            page_token,
            ..v1::ExplainEventRequest::default()
        };
        let mut client = client.clone();
        async move {
            let page = client.explain_event(request).await?.into_inner();
            Ok((page.explanations, page.next_page_token))
        }
    });
    let head = ["SUBSCRIPTION", "NOW", "WHEN PUBLISHED", "FILTERS"];
    list(global.output, &found.await?, explained, &head, |one| {
        let filters = one.patterns.iter().map(|pattern| {
            let holds = if pattern.holds {
                "holds"
            } else {
                "does not hold"
            };
            format!("events[{}] {holds}", pattern.index)
        });
        let then = if one.was_matched {
            "matched"
        } else {
            "not matched"
        };
        vec![
            one.subscription_id.clone(),
            word(one.verdict().as_str_name(), "MATCH_VERDICT_"),
            then.to_owned(),
            filters.collect::<Vec<_>>().join(", "),
        ]
    })
}

fn explained(one: &v1::EventExplanation) -> Value {
    let pattern = |pattern: &v1::PatternExplanation| {
        let verdicts = pattern.verdicts.iter().map(filter::as_json);
        json!({
            "index": pattern.index,
            "holds": pattern.holds,
            "verdicts": verdicts.collect::<Value>(),
        })
    };
    json!({
        "subscription_id": one.subscription_id,
        "verdict": word(one.verdict().as_str_name(), "MATCH_VERDICT_"),
        "was_matched": one.was_matched,
        "patterns": one.patterns.iter().map(pattern).collect::<Value>(),
    })
}
