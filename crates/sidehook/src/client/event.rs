//! `sidehook event`: the event log.

use sidehook_api::v1::{self, event_service_client::EventServiceClient};

use super::{
    Failure, Global,
    channel::{connect, pages},
    render::{document, event as as_json, list, moment},
};

/// Largest page of events.
const PAGE: u32 = 100;

/// Commands on events.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show one event, as JSON
    Get {
        /// The event's id
        id: String,
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
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

/// Runs `command`.
pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let mut client = EventServiceClient::new(connect(global).await?);
    let (object_type, action, object_id, limit) = match command {
        Command::Get { id } => {
            let event = client
                .get_event(v1::GetEventRequest { id })
                .await?
                .into_inner()
                .event;
            return document(&as_json(&event.unwrap_or_default()));
        }
        Command::List {
            object_type,
            action,
            object_id,
            limit,
        } => (object_type, action, object_id, limit),
    };
    let filter = v1::ListEventsRequest {
        object_type: object_type.unwrap_or_default(),
        action: action.unwrap_or_default(),
        object_id: object_id.unwrap_or_default(),
        ..v1::ListEventsRequest::default()
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
