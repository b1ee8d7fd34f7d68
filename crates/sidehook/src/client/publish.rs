//! `sidehook publish`: one event in a call, or a file of them through a stream.

mod batch;
mod stream;

use std::path::{Path, PathBuf};

use sidehook_api::v1::{self, event_service_client::EventServiceClient};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, BufReader},
};

use super::{
    Failure, Global,
    channel::{connect, unreadable},
    event_file,
    render::{one, published, word},
};
use stream::stream;

/// What to publish.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// File with the event as JSON, plain or in an envelope as receivers get it; `-` reads standard input
    file: PathBuf,
    /// The file has an event per line: publish them as a stream
    #[arg(long)]
    ndjson: bool,
    #[command(flatten)]
    global: Global,
}

/// Publishes what `arguments` name.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let global = &arguments.global;
    let (input, length) = open(&arguments.file).await?;
    if arguments.ndjson {
        let client = EventServiceClient::new(connect(global).await?);
        return stream(client, BufReader::new(input), length, global.output).await;
    }
    let (mut input, mut json) = (input, Vec::new());
    let read = input.read_to_end(&mut json).await;
    read.map_err(|error| unreadable("file", &arguments.file, &error))?;
    let event = event_file::parse(&json).map_err(|error| {
        let failure = Failure::new(format!("{}: {error}", arguments.file.display()));
        failure.hint("for a file with an event per line use --ndjson")
    })?;
    let mut client = EventServiceClient::new(connect(global).await?);
    let has_key = !event.idempotency_key.is_empty();
    let request = v1::PublishEventRequest { event: Some(event) };
    let result = client
        .publish_event(request)
        .await
        .map_err(|status| Failure::of_publish(status, has_key))?
        .into_inner()
        .result
        .unwrap_or_default();
    let note = if result.duplicate {
        "published before; nothing new is delivered"
    } else {
        ""
    };
    let fields = [
        ("EVENT", result.event_id.clone()),
        ("SUBSCRIPTIONS MATCHED", result.matched.to_string()),
        ("DURABILITY", durability(&result)),
        ("NOTE", note.to_owned()),
    ];
    one(global.output, &published(&result), &fields)
}

/// How safely it is stored, with what that means.
fn durability(result: &v1::PublishResult) -> String {
    let meaning = match result.durability() {
        v1::Durability::Unspecified => return String::new(),
        v1::Durability::Volatile => "in memory only, lost with the store's process",
        v1::Durability::Relaxed => "on disk within about a second",
        v1::Durability::Strict => "on disk",
    };
    let name = word(result.durability().as_str_name(), "DURABILITY_");
    format!("{name}: {meaning}")
}

/// The input, and its length where there is one.
async fn open(path: &Path) -> Result<(Box<dyn AsyncRead + Unpin>, Option<u64>), Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(tokio::io::stdin()), None));
    }
    let file = File::open(path)
        .await
        .map_err(|error| unreadable("file", path, &error))?;
    let metadata = file
        .metadata()
        .await
        .map_err(|error| unreadable("file", path, &error))?;
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}
