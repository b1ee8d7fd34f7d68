//! Hints: a connection of their own that listens to all partitions' channels.
//!
//! The client library keeps it alive and subscribes again after a break; every new
//! subscription means that something may have been missed, and is told as a gap.

use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use redis::{
    Client, ProtocolVersion, PushInfo, PushKind, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use sidehook_core::{address::Partition, id::TenantId};
use sidehook_store::hint::Hint;
use tokio::sync::broadcast;

use crate::{ConnectError, layout, layout::Reader};

/// Hints that a receiver may lag behind.
const HINTS: usize = 4_096;
/// Matches every partition's channel and nothing else of ours.
pub(crate) const PATTERN: &str = "{sh[0-9][0-9]}:hints";

/// Listens for as long as it is kept.
pub(crate) struct Hints {
    sender: broadcast::Sender<Hint>,
    _connection: ConnectionManager,
}

impl Hints {
    pub(crate) async fn listen(client: &Client, timeout: Duration) -> Result<Self, ConnectError> {
        let unreachable = |error: redis::RedisError| ConnectError::Unreachable(error.to_string());
        let (sender, _) = broadcast::channel(HINTS);
        let out = sender.clone();
        let first = AtomicBool::new(true);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_number_of_retries(usize::MAX)
            .set_max_delay(Duration::from_secs(2))
            .set_automatic_resubscription()
            .set_push_sender(move |push: PushInfo| {
                forward(&out, &first, push);
                Ok::<(), redis::aio::SendError>(())
            });
        let info = client.get_connection_info().clone();
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(unreachable)?;
        let mut connection = ConnectionManager::new_with_config(client, config)
            .await
            .map_err(unreachable)?;
        connection.psubscribe(PATTERN).await.map_err(unreachable)?;
        Ok(Self {
            sender,
            _connection: connection,
        })
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.sender.subscribe()
    }
}

fn forward(out: &broadcast::Sender<Hint>, first: &AtomicBool, push: PushInfo) {
    let hint = match push.kind {
        PushKind::PMessage => parse(push.data),
        PushKind::PSubscribe if !first.swap(false, Ordering::Relaxed) => Some(Hint::Gap),
        _ => None,
    };
    if let Some(hint) = hint {
        // No receiver is no error: hints are for whoever listens.
        let _ = out.send(hint);
    }
}

/// A message is pattern, channel, payload.
fn parse(data: Vec<Value>) -> Option<Hint> {
    let mut parts = data.into_iter().skip(1);
    let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
        (parts.next(), parts.next())
    else {
        return None;
    };
    let number = core::str::from_utf8(channel.get(3..5)?)
        .ok()?
        .parse()
        .ok()?;
    let partition = Partition::new(number)?;
    let payload = Bytes::from(payload);
    let (kind, rest) = (*payload.first()?, payload.slice(1..));
    match kind {
        b'd' => Some(Hint::Due {
            partition,
            pool: Reader::new("a pool", rest).pool().ok()?,
        }),
        b'c' => Some(Hint::Catalog(TenantId::from_slice(&rest)?)),
        b's' if rest.len() == 12 => Some(Hint::Settled(layout::block_id(partition, &rest))),
        _ => None,
    }
}
