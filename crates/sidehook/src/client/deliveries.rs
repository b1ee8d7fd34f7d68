//! `sidehook deliveries`: what became of events, and once more from the start.

use sidehook_api::v1::{
    self, delivery_service_client::DeliveryServiceClient,
    webhook_service_client::WebhookServiceClient,
};

use super::{
    Failure, Global, Output,
    agents::warn_if_deserted,
    channel::{Api, connect, pages},
    render::{
        delivery as as_json, ending, json_line, line, list, milliseconds, moment, one, state,
    },
};

/// Largest page of deliveries.
const PAGE: u32 = 500;

/// Commands on deliveries.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List deliveries, newest event first
    List {
        /// Only this subscription's
        #[arg(long, value_name = "ID")]
        subscription: Option<String>,
        /// Only this event's
        #[arg(long, value_name = "ID")]
        event: Option<String>,
        /// Only in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one delivery with its attempts
    Get {
        /// The delivery's id
        id: String,
    },
    /// Tell of every attempt from now on
    Watch {
        /// Only this subscription's
        #[arg(long, value_name = "ID")]
        subscription: Option<String>,
    },
    /// Deliver the same event to the same subscription once more
    Retry {
        /// The delivery's id; it must have ended
        id: String,
    },
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum State {
    /// Due, and waiting for an agent or for room in the window
    Queued,
    /// Lent to an agent
    InFlight,
    /// Failed, and due again later
    Retrying,
    /// The receiver answered 2xx
    Delivered,
    /// Given up
    Dead,
    /// Withdrawn
    Cancelled,
}

impl From<State> for v1::DeliveryState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::InFlight => Self::InFlight,
            State::Retrying => Self::Retrying,
            State::Delivered => Self::Delivered,
            State::Dead => Self::Dead,
            State::Cancelled => Self::Cancelled,
        }
    }
}

/// Runs `command`.
pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let api = connect(global).await?;
    let mut client = DeliveryServiceClient::new(api.clone());
    let delivery = match command {
        Command::List {
            subscription,
            event,
            state,
            limit,
        } => {
            let filter = v1::ListDeliveriesRequest {
                subscription_id: subscription.unwrap_or_default(),
                event_id: event.unwrap_or_default(),
                state: state.map_or(0, |state| v1::DeliveryState::from(state).into()),
                ..v1::ListDeliveriesRequest::default()
            };
            return show_list(&client, &filter, limit, global.output).await;
        }
        Command::Watch { subscription } => {
            return watch(&mut client, subscription.unwrap_or_default(), global.output).await;
        }
        Command::Get { id } => {
            client
                .get_delivery(v1::GetDeliveryRequest { id })
                .await?
                .into_inner()
                .delivery
        }
        Command::Retry { id } => {
            client
                .retry_delivery(v1::RetryDeliveryRequest { id })
                .await?
                .into_inner()
                .delivery
        }
    };
    let delivery = delivery.unwrap_or_default();
    show(&delivery, global.output)?;
    if delivery.state() == v1::DeliveryState::Queued {
        explain_queue(&api, delivery.subscription_id).await;
    }
    Ok(())
}

/// Says why a delivery is queued, if that is for want of an agent.
async fn explain_queue(api: &Api, id: String) {
    let mut client = WebhookServiceClient::new(api.clone());
    let answer = client.get_subscription(v1::GetSubscriptionRequest { id });
    // Without an answer there is nothing to say: what was asked for has been shown.
    let subscription = answer
        .await
        .ok()
        .and_then(|read| read.into_inner().subscription);
    if let Some(subscription) = subscription {
        warn_if_deserted(api, &subscription.pool, "the delivery is queued").await;
    }
}

async fn show_list(
    client: &DeliveryServiceClient<Api>,
    filter: &v1::ListDeliveriesRequest,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let deliveries = pages(limit, PAGE, |page_size, page_token| {
        let request = v1::ListDeliveriesRequest {
            page_size,
            page_token,
            ..filter.clone()
        };
        let mut client = client.clone();
        async move {
            let page = client.list_deliveries(request).await?.into_inner();
            Ok((page.deliveries, page.next_page_token))
        }
    })
    .await?;
    let head = [
        "ID",
        "STATE",
        "ATTEMPTS",
        "NEXT ATTEMPT",
        "EVENT",
        "SUBSCRIPTION",
    ];
    list(output, &deliveries, as_json, &head, |delivery| {
        vec![
            delivery.id.clone(),
            state(delivery),
            delivery.attempt_count.to_string(),
            moment(delivery.next_attempt_at.as_ref()),
            delivery.event_id.clone(),
            delivery.subscription_id.clone(),
        ]
    })
}

fn show(delivery: &v1::Delivery, output: Output) -> Result<(), Failure> {
    let fields = [
        ("ID", delivery.id.clone()),
        ("STATE", state(delivery)),
        ("REASON", delivery.reason.clone()),
        ("EVENT", delivery.event_id.clone()),
        ("SUBSCRIPTION", delivery.subscription_id.clone()),
        ("GENERATION", delivery.generation.to_string()),
        ("ATTEMPTS", delivery.attempt_count.to_string()),
        ("NEXT ATTEMPT", moment(delivery.next_attempt_at.as_ref())),
    ];
    one(output, &as_json(delivery), &fields)?;
    if output == Output::Json || delivery.attempts.is_empty() {
        return Ok(());
    }
    let head = ["#", "STARTED", "TOOK", "ENDED", "AGENT", "ANSWER"];
    list(
        output,
        &delivery.attempts,
        |_| serde_json::Value::Null,
        &head,
        |attempt| {
            vec![
                attempt.number.to_string(),
                moment(attempt.started_at.as_ref()),
                took(attempt),
                ending(attempt),
                attempt.agent_id.clone(),
                String::from_utf8_lossy(&attempt.response_body)
                    .trim_end()
                    .chars()
                    .take(60)
                    .collect(),
            ]
        },
    )
}

/// Prints a line per attempt until the server or the person ends it.
async fn watch(
    client: &mut DeliveryServiceClient<Api>,
    subscription_id: String,
    output: Output,
) -> Result<(), Failure> {
    let request = v1::WatchDeliveriesRequest { subscription_id };
    let mut attempts = client.watch_deliveries(request).await?.into_inner();
    while let Some(message) = attempts.message().await? {
        // The first message is empty: the watch is on.
        let Some(delivery) = message.delivery else {
            continue;
        };
        match output {
            Output::Json => json_line(&as_json(&delivery))?,
            Output::Table => line(&told(&delivery))?,
        }
    }
    Err(Failure::new("the server ended the watch").hint("it may be restarting: start it again"))
}

/// An attempt's end in a line.
fn told(delivery: &v1::Delivery) -> String {
    let attempt = delivery.attempts.last();
    let mut words = vec![
        attempt.map_or_else(String::new, |attempt| moment(attempt.started_at.as_ref())),
        delivery.id.clone(),
        state(delivery),
    ];
    if let Some(attempt) = attempt {
        words.push(format!("attempt {}: {}", attempt.number, ending(attempt)));
        words.push(took(attempt));
    }
    words.push(delivery.reason.clone());
    words.retain(|word| !word.is_empty());
    words.join("  ")
}

fn took(attempt: &v1::Attempt) -> String {
    let duration = attempt.duration.as_ref();
    duration.map_or_else(String::new, |duration| {
        format!("{:.1} ms", milliseconds(duration))
    })
}
