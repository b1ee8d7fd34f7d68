//! `sidehook subscription`.

mod show;

use serde_json::json;
use sidehook_api::v1::{self, webhook_service_client::WebhookServiceClient};

use super::{
    Failure, Global, Output,
    agents::warn_if_deserted,
    channel::{Api, connect},
    render::{json_line, line, one},
    settings::{Secret, Settings, span},
};
use show::{show, show_list};

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
        #[command(flatten)]
        secret: Secret,
        #[command(flatten)]
        room: Room,
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
        #[command(flatten)]
        room: Room,
    },
    /// Delete a subscription; what was queued for it is cancelled
    Delete(Target),
    /// Stop matching new events; what was queued before waits
    Pause(Target),
    /// Match events again and deliver what waits
    Resume {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        room: Room,
    },
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
        #[command(flatten)]
        secret: Secret,
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

/// How many there may be.
#[derive(Debug, clap::Args)]
pub(crate) struct Room {
    /// Refuse if the subscription becomes active, and more than this many would be then;
    /// 0: no limit
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    active_limit: u32,
}

/// Runs `command`.
pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let api = connect(global).await?;
    let mut client = WebhookServiceClient::new(api.clone());
    match command {
        Command::List { limit } => show_list(&client, limit, global.output).await,
        Command::Test { id } => test(&mut client, id, global.output).await,
        Command::Delete(target) => delete(&mut client, target, global.output).await,
        Command::Get { id } => {
            let answer = client
                .get_subscription(v1::GetSubscriptionRequest { id })
                .await?;
            show(answer.into_inner().subscription, global.output)
        }
        Command::Create {
            url,
            settings,
            secret,
            room,
        } => {
            let request = create(url, settings, secret, &room)?;
            let answer = client.create_subscription(request).await?;
            let made = answer.into_inner().subscription.unwrap_or_default();
            let pool = made.pool.clone();
            show(Some(made), global.output)?;
            warn_if_deserted(&api, &pool, "deliveries wait").await;
            Ok(())
        }
        Command::Update {
            target,
            url,
            settings,
            room,
        } => {
            let mut request = update(&mut client, target, url, settings).await?;
            request.active_limit = room.active_limit;
            let answer = client.update_subscription(request).await?;
            show(answer.into_inner().subscription, global.output)
        }
        Command::Pause(Target { id, etag }) => {
            let request = v1::PauseSubscriptionRequest { id, etag };
            let answer = client.pause_subscription(request).await?;
            show(answer.into_inner().subscription, global.output)
        }
        Command::Resume { target, room } => {
            let answer = client.resume_subscription(resume(target, &room)).await?;
            show(answer.into_inner().subscription, global.output)
        }
        Command::RotateKey {
            target: Target { id, etag },
            overlap,
            secret,
        } => {
            let new_secret = secret.read()?;
            let request = v1::RotateSigningKeyRequest {
                id,
                new_secret,
                overlap,
                etag,
            };
            let answer = client.rotate_signing_key(request).await?;
            show(answer.into_inner().subscription, global.output)
        }
    }
}

fn create(
    url: String,
    settings: Settings,
    secret: Secret,
    room: &Room,
) -> Result<v1::CreateSubscriptionRequest, Failure> {
    let (subscription, _) = settings.into_subscription(Some(url), None)?;
    Ok(v1::CreateSubscriptionRequest {
        subscription: Some(subscription),
        signing_secret: secret.read()?,
        active_limit: room.active_limit,
    })
}

fn resume(Target { id, etag }: Target, room: &Room) -> v1::ResumeSubscriptionRequest {
    v1::ResumeSubscriptionRequest {
        id,
        etag,
        active_limit: room.active_limit,
    }
}

async fn update(
    client: &mut WebhookServiceClient<Api>,
    target: Target,
    url: Option<String>,
    settings: Settings,
) -> Result<v1::UpdateSubscriptionRequest, Failure> {
    let Target { id, mut etag } = target;
    let mut present = None;
    if settings.need_present() {
        let request = v1::GetSubscriptionRequest { id: id.clone() };
        let answer = client.get_subscription(request).await?.into_inner();
        let read = answer.subscription.unwrap_or_default();
        present = read.signing.and_then(|signing| signing.scheme);
        if etag.is_empty() {
            // What was read must still hold when it is written.
            etag = read.etag;
        }
    }
    let (subscription, paths) = settings.into_subscription(url, present.as_ref())?;
    if paths.is_empty() {
        return Err(Failure::new("nothing to change").hint("give a flag for each field to change"));
    }
    let subscription = v1::Subscription {
        id,
        etag,
        ..subscription
    };
    Ok(v1::UpdateSubscriptionRequest {
        subscription: Some(subscription),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..v1::UpdateSubscriptionRequest::default()
    })
}

async fn delete(
    client: &mut WebhookServiceClient<Api>,
    Target { id, etag }: Target,
    output: Output,
) -> Result<(), Failure> {
    let request = v1::DeleteSubscriptionRequest {
        id: id.clone(),
        etag,
    };
    client.delete_subscription(request).await?;
    match output {
        Output::Json => json_line(&json!({ "id": id, "deleted": true })),
        Output::Table => line(&format!("{id} is deleted")),
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
