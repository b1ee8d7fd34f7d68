//! What happens in the demonstration, in its order.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use core::time::Duration;
use secrecy::{ExposeSecret as _, SecretString};
use sidehook_api::{time, v1};
use sidehook_core::id::SubscriptionId;
use sidehook_runtime::{listen::ListenConfig, tasks::Tasks};
use sidehook_signature::Scheme;
use sidehook_store::port::Durability;
use sidehook_testkit::{
    client::Client,
    receiver::{Behaviour, Receiver},
};
use tonic::Status;

use super::{check::Check, journey::Names, screen::Screen, summary};
use crate::{
    client::event_file,
    local::{Addresses, Local},
    store::{StoreConfig, WORKERS},
};

/// What is published: a won opportunity, as a CRM tells of it.
const EVENT: &[u8] = include_bytes!("../../../../tests/data/opportunity-won.json");
/// The pause before the first retry, at most; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// Requests that the failing receiver refuses at first.
const FAILURES: u32 = 2;

/// A receiver with its subscription.
pub(super) struct Party {
    /// Its name on the screen.
    pub(super) name: &'static str,
    /// How its subscription signs, in words.
    pub(super) scheme: &'static str,
    /// The subscription's identifier.
    pub(super) subscription: String,
    /// What it found.
    pub(super) check: Arc<Check>,
    /// Ends when dropped.
    _receiver: Receiver,
}

/// A signature scheme as the API and as the receiver know it.
struct Signing {
    words: &'static str,
    api: v1::signing::Scheme,
    receiver: Scheme,
}

/// Tells the story on `screen`, from an empty system to a summary.
///
/// # Errors
/// Whatever did not go as it should, in words for people.
pub(super) async fn tell(screen: &Screen, names: &Names, tasks: &Tasks) -> Result<(), String> {
    let event = event_file::parse(EVENT).map_err(|error| format!("the event: {error}"))?;
    // Held to the end: it removes what the store keeps.
    let folder = tempfile::tempdir().map_err(|error| format!("temporary folder: {error}"))?;
    let client = start_system(screen, folder.path(), tasks).await?;
    let standard = Signing {
        words: "Standard Webhooks",
        api: v1::signing::Scheme::StandardWebhooks(v1::StandardWebhooksScheme::default()),
        receiver: Scheme::StandardWebhooks,
    };
    let close = Signing {
        words: "Close",
        api: v1::signing::Scheme::Close(v1::CloseScheme {}),
        receiver: Scheme::Close,
    };
    let failing = Behaviour::FailFirst(FAILURES);
    let parties = [
        join(
            screen,
            &client,
            "receiver A",
            Behaviour::Ok,
            standard,
            &event.data,
        )
        .await?,
        join(screen, &client, "receiver B", failing, close, &event.data).await?,
    ];
    introduce(names, &parties)?;
    let mut watch = watch(&client).await?;
    let request = v1::PublishEventRequest { event: Some(event) };
    let answer = client.events().publish_event(request).await;
    let answer = answer.map_err(|status| refused("the event", &status))?;
    let result = answer.into_inner().result.unwrap_or_default();
    if let Some(error) = result.error {
        return Err(format!("the event is refused: {}", error.message));
    }
    let deliveries = settled(&mut watch, &result.event_id, parties.len()).await?;
    summary::show(screen, &client, &parties, &deliveries).await
}

async fn start_system(screen: &Screen, folder: &Path, tasks: &Tasks) -> Result<Client, String> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let addresses = Addresses {
        http: free,
        grpc: ListenConfig::new(free),
        agents: ListenConfig::new(free),
        gateway: ListenConfig::new(free),
    };
    // Hex digits: the form of a sealing key, and a good API key too.
    let secret = || {
        let halves: [u128; 2] = [rand::random(), rand::random()];
        SecretString::from(format!("{:032x}{:032x}", halves[0], halves[1]))
    };
    let api_key = secret();
    let store = StoreConfig::Embedded {
        directory: folder.to_owned(),
        durability: Durability::Relaxed,
    };
    let store = store.open(WORKERS).await?;
    let local = Local::start(store, addresses, &api_key, secret(), tasks).await?;
    local.plane.readiness.ready().await;
    let about = format!("gRPC {}, one agent is connected", local.plane.grpc);
    screen.step("control plane", "ready", &about);
    Ok(Client::new(local.plane.grpc, api_key.expose_secret()))
}

/// Starts a receiver and subscribes it.
async fn join(
    screen: &Screen,
    client: &Client,
    name: &'static str,
    behaviour: Behaviour,
    signing: Signing,
    data: &Bytes,
) -> Result<Party, String> {
    let check = Arc::new(Check::new(name, screen.clone(), data.clone()));
    let examiner = Arc::clone(&check);
    let receiver = Receiver::start_with(behaviour, move |request| examiner.examine(request)).await;
    let subscription = v1::Subscription {
        url: receiver.url(),
        events: vec![v1::EventPattern {
            object_type: "opportunity".to_owned(),
            action: "updated".to_owned(),
            extra_filter: String::new(),
        }],
        signing: Some(v1::Signing {
            scheme: Some(signing.api),
            ..v1::Signing::default()
        }),
        retry_policy: Some(v1::RetryPolicy {
            initial_backoff: Some(time::duration(FIRST_BACKOFF)),
            ..v1::RetryPolicy::default()
        }),
        ..v1::Subscription::default()
    };
    let request = v1::CreateSubscriptionRequest {
        subscription: Some(subscription),
        ..v1::CreateSubscriptionRequest::default()
    };
    let answer = client.webhooks().create_subscription(request).await;
    let answer = answer.map_err(|status| refused("the subscription", &status))?;
    let made = answer.into_inner().subscription.unwrap_or_default();
    let keys = made.signing.unwrap_or_default().keys;
    let key = keys.first().ok_or("a subscription came without its key")?;
    check.trust(&signing.receiver, &key.secret)?;
    screen.step(
        name,
        "subscribed",
        &format!("{}, signed as {}", receiver.url(), signing.words),
    );
    Ok(Party {
        name,
        scheme: signing.words,
        subscription: made.id,
        check,
        _receiver: receiver,
    })
}

/// Lets the steps of deliveries be told with the receivers' names.
fn introduce(names: &Names, parties: &[Party]) -> Result<(), String> {
    let mut known = HashMap::new();
    for party in parties {
        let id: SubscriptionId = party
            .subscription
            .parse()
            .map_err(|error| format!("{error}"))?;
        known.insert(id.number(), party.name);
    }
    names
        .set(known)
        .map_err(|_| "the receivers are known already".to_owned())
}

type Watch = tonic::Streaming<v1::WatchDeliveriesResponse>;

/// A watch that is on.
async fn watch(client: &Client) -> Result<Watch, String> {
    let request = v1::WatchDeliveriesRequest::default();
    let answer = client.deliveries().watch_deliveries(request).await;
    let mut watch = answer
        .map_err(|status| refused("the watch", &status))?
        .into_inner();
    next(&mut watch).await?;
    Ok(watch)
}

async fn next(watch: &mut Watch) -> Result<v1::WatchDeliveriesResponse, String> {
    let message = watch
        .message()
        .await
        .map_err(|status| refused("the watch", &status))?;
    message.ok_or_else(|| "the watch ended early".to_owned())
}

/// The identifiers of the event's deliveries once all `count` of them are settled for
/// good.
async fn settled(watch: &mut Watch, event: &str, count: usize) -> Result<Vec<String>, String> {
    let mut settled = Vec::new();
    while settled.len() < count {
        let Some(delivery) = next(watch).await?.delivery else {
            continue;
        };
        if delivery.event_id != event {
            continue;
        }
        match delivery.state() {
            v1::DeliveryState::Delivered => settled.push(delivery.id),
            v1::DeliveryState::Dead | v1::DeliveryState::Cancelled => {
                return Err(format!("{} failed: {}", delivery.id, delivery.reason));
            }
            _ => {}
        }
    }
    Ok(settled)
}

/// A refusal by the API, in words.
pub(super) fn refused(what: &str, status: &Status) -> String {
    format!("{what}: {} ({:?})", status.message(), status.code())
}
