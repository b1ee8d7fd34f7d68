//! `sidehook subscription`.

use serde_json::{Value, json};
use sidehook_api::v1::{self, signing::Scheme, webhook_service_client::WebhookServiceClient};

use super::{
    Failure, Global, Output,
    channel::{Api, connect, pages},
    render::{line, list, moment, one, some, span as shown, word},
    settings::{Settings, span},
};

/// Largest page of subscriptions.
const PAGE: u32 = 500;

/// Commands on subscriptions.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create a subscription
    Create {
        /// Destination, an http or https URL
        #[arg(long)]
        url: String,
        #[command(flatten)]
        settings: Settings,
        /// The signing secret in its scheme's text form; generated if left out
        #[arg(long)]
        secret: Option<String>,
    },
    /// List subscriptions, oldest first
    List {
        /// At most this many
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// Show a subscription with its signing keys
    Get {
        /// The subscription's id
        id: String,
    },
    /// Change what the given flags name
    Update {
        #[command(flatten)]
        target: Target,
        /// Destination, an http or https URL
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Delete a subscription; what was queued for it is cancelled
    Delete(Target),
    /// Stop matching new events; what was queued before waits
    Pause(Target),
    /// Match events again and deliver what waits
    Resume(Target),
    /// Send a test event to this subscription alone
    Test {
        /// The subscription's id
        id: String,
    },
    /// Make a new signing key; the present ones go on beside it for a while
    RotateKey {
        #[command(flatten)]
        target: Target,
        /// How long the present keys go on, at most 30 days; 24h if left out
        #[arg(long, value_name = "SPAN", value_parser = span)]
        overlap: Option<prost_types::Duration>,
        /// The new secret in its scheme's text form; generated if left out
        #[arg(long)]
        secret: Option<String>,
    },
}

/// Which subscription, and which version of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The subscription's id
    id: String,
    /// Refuse unless this is still its etag
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

/// Runs `command`.
pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let mut client = WebhookServiceClient::new(connect(global).await?);
    let subscription = match command {
        Command::Create {
            url,
            settings,
            secret,
        } => {
            let (subscription, _) = settings.into_subscription(Some(url));
            let request = v1::CreateSubscriptionRequest {
                subscription: Some(subscription),
                signing_secret: secret.unwrap_or_default(),
            };
            client
                .create_subscription(request)
                .await?
                .into_inner()
                .subscription
        }
        Command::List { limit } => return show_list(&client, limit, global.output).await,
        Command::Get { id } => {
            let request = v1::GetSubscriptionRequest { id };
            client
                .get_subscription(request)
                .await?
                .into_inner()
                .subscription
        }
        Command::Update {
            target,
            url,
            settings,
        } => {
            let request = update(target, url, settings)?;
            client
                .update_subscription(request)
                .await?
                .into_inner()
                .subscription
        }
        Command::Delete(Target { id, etag }) => {
            let request = v1::DeleteSubscriptionRequest {
                id: id.clone(),
                etag,
            };
            client.delete_subscription(request).await?;
            return told(
                global.output,
                &json!({ "id": id, "deleted": true }),
                &format!("{id} is deleted"),
            );
        }
        Command::Pause(Target { id, etag }) => {
            let request = v1::PauseSubscriptionRequest { id, etag };
            client
                .pause_subscription(request)
                .await?
                .into_inner()
                .subscription
        }
        Command::Resume(Target { id, etag }) => {
            let request = v1::ResumeSubscriptionRequest { id, etag };
            client
                .resume_subscription(request)
                .await?
                .into_inner()
                .subscription
        }
        Command::Test { id } => return test(&mut client, id, global.output).await,
        Command::RotateKey {
            target,
            overlap,
            secret,
        } => {
            let request = v1::RotateSigningKeyRequest {
                id: target.id,
                new_secret: secret.unwrap_or_default(),
                overlap,
                etag: target.etag,
            };
            client
                .rotate_signing_key(request)
                .await?
                .into_inner()
                .subscription
        }
    };
    show(&subscription.unwrap_or_default(), global.output)
}

fn update(
    target: Target,
    url: Option<String>,
    settings: Settings,
) -> Result<v1::UpdateSubscriptionRequest, Failure> {
    let (subscription, paths) = settings.into_subscription(url);
    if paths.is_empty() {
        return Err(Failure::new("nothing to change").hint("give a flag for each field to change"));
    }
    let subscription = v1::Subscription {
        id: target.id,
        etag: target.etag,
        ..subscription
    };
    Ok(v1::UpdateSubscriptionRequest {
        subscription: Some(subscription),
        update_mask: Some(prost_types::FieldMask { paths }),
    })
}

fn told(output: Output, value: &Value, text: &str) -> Result<(), Failure> {
    match output {
        Output::Json => line(&value.to_string()),
        Output::Table => line(text),
    }
}

async fn test(
    client: &mut WebhookServiceClient<Api>,
    id: String,
    output: Output,
) -> Result<(), Failure> {
    let sent = client
        .test_subscription(v1::TestSubscriptionRequest { id })
        .await?
        .into_inner();
    let value = json!({ "event_id": sent.event_id, "delivery_id": sent.delivery_id });
    let next = format!("sidehook deliveries get {}", sent.delivery_id);
    let fields = [
        ("EVENT", sent.event_id),
        ("DELIVERY", sent.delivery_id),
        ("HOW IT WENT", next),
    ];
    one(output, &value, &fields)
}

async fn show_list(
    client: &WebhookServiceClient<Api>,
    limit: u32,
    output: Output,
) -> Result<(), Failure> {
    let subscriptions = pages(limit, PAGE, |page_size, page_token| {
        let mut client = client.clone();
        async move {
            let request = v1::ListSubscriptionsRequest {
                page_size,
                page_token,
            };
            let page = client.list_subscriptions(request).await?.into_inner();
            Ok((page.subscriptions, page.next_page_token))
        }
    })
    .await?;
    let head = ["ID", "STATUS", "EVENTS", "URL", "POOL"];
    list(output, &subscriptions, as_json, &head, |subscription| {
        vec![
            subscription.id.clone(),
            status(subscription),
            patterns(subscription).join(", "),
            subscription.url.clone(),
            subscription.pool.clone(),
        ]
    })
}

fn show(subscription: &v1::Subscription, output: Output) -> Result<(), Failure> {
    let retry = subscription.retry_policy.unwrap_or_default();
    let timeouts = subscription.timeouts.unwrap_or_default();
    let headers = subscription.headers.iter();
    let headers: Vec<_> = headers
        .map(|h| format!("{}: {}", h.name, h.value))
        .collect();
    let keys = subscription
        .signing
        .iter()
        .flat_map(|signing| &signing.keys);
    let keys: Vec<_> = keys
        .map(|key| match moment(key.expires_at.as_ref()).as_str() {
            "" => key.secret.clone(),
            until => format!("{} (until {until})", key.secret),
        })
        .collect();
    let fields = [
        ("ID", subscription.id.clone()),
        ("URL", subscription.url.clone()),
        ("EVENTS", patterns(subscription).join(", ")),
        ("STATUS", status(subscription)),
        ("PAUSED BY", subscription.pause_reason.clone()),
        ("SIGNING", scheme(subscription).to_owned()),
        ("KEYS", keys.join("\n")),
        ("HEADERS", headers.join("\n")),
        (
            "VERIFY TLS",
            subscription.verify_ssl.unwrap_or(true).to_string(),
        ),
        ("POOL", subscription.pool.clone()),
        ("MAX IN FLIGHT", subscription.max_in_flight.to_string()),
        ("TIMEOUT", shown(timeouts.total.as_ref())),
        ("FIRST BACK-OFF", shown(retry.initial_backoff.as_ref())),
        ("RETRIES FOR", shown(retry.max_age.as_ref())),
        ("DESCRIPTION", subscription.description.clone()),
        ("CREATED", moment(subscription.created_at.as_ref())),
        ("ETAG", subscription.etag.clone()),
    ];
    one(output, &as_json(subscription), &fields)
}

fn status(subscription: &v1::Subscription) -> String {
    word(subscription.status().as_str_name(), "SUBSCRIPTION_STATUS_")
}

fn patterns(subscription: &v1::Subscription) -> Vec<String> {
    let events = subscription.events.iter();
    events
        .map(|event| format!("{}:{}", event.object_type, event.action))
        .collect()
}

fn scheme(subscription: &v1::Subscription) -> &'static str {
    match subscription
        .signing
        .as_ref()
        .and_then(|signing| signing.scheme.as_ref())
    {
        Some(Scheme::StandardWebhooks(_)) => "standard_webhooks",
        Some(Scheme::Close(_)) => "close",
        Some(Scheme::HmacHeader(_)) => "hmac_header",
        Some(Scheme::Unsigned(_)) | None => "unsigned",
    }
}

fn as_json(subscription: &v1::Subscription) -> Value {
    let retry = subscription.retry_policy.unwrap_or_default();
    let timeouts = subscription.timeouts.unwrap_or_default();
    let signing = subscription.signing.clone().unwrap_or_default();
    json!({
        "id": subscription.id,
        "url": subscription.url,
        "events": patterns(subscription),
        "status": status(subscription),
        "pause_reason": some(subscription.pause_reason.clone()),
        "signing": {
            "scheme": scheme(subscription),
            "local_key": some(signing.local_key),
            "keys": signing.keys.into_iter().map(|key| json!({
                "id": key.id,
                "secret": key.secret,
                "public_key": some(key.public_key),
                "created_at": some(moment(key.created_at.as_ref())),
                "expires_at": some(moment(key.expires_at.as_ref())),
            })).collect::<Value>(),
        },
        "headers": subscription.headers.iter().map(|header| json!({
            "name": header.name,
            "value": header.value,
        })).collect::<Value>(),
        "verify_ssl": subscription.verify_ssl.unwrap_or(true),
        "pool": subscription.pool,
        "max_in_flight": subscription.max_in_flight,
        "timeouts": {
            "dns": some(shown(timeouts.dns.as_ref())),
            "connect": some(shown(timeouts.connect.as_ref())),
            "total": some(shown(timeouts.total.as_ref())),
        },
        "retry_policy": {
            "initial_backoff": some(shown(retry.initial_backoff.as_ref())),
            "max_backoff": some(shown(retry.max_backoff.as_ref())),
            "max_age": some(shown(retry.max_age.as_ref())),
            "max_attempts": retry.max_attempts,
        },
        "description": some(subscription.description.clone()),
        "created_at": some(moment(subscription.created_at.as_ref())),
        "updated_at": some(moment(subscription.updated_at.as_ref())),
        "created_by": some(subscription.created_by.clone()),
        "updated_by": some(subscription.updated_by.clone()),
        "etag": subscription.etag,
    })
}
