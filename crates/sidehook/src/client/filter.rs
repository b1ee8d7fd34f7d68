//! `sidehook filter`: trying filters out before a subscription has them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sidehook_api::v1::{self, webhook_service_client::WebhookServiceClient};

use super::{
    Failure, Global, Output,
    channel::{connect, unreadable},
    event_file,
    render::{document, line, list},
};

/// Commands on filters.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Evaluate a filter on a sample event, node by node; nothing is stored or sent
    Test {
        /// File with the filter as JSON
        #[arg(long, value_name = "FILE")]
        filter: PathBuf,
        /// File with the event as JSON, plain or in an envelope as receivers get it
        #[arg(long, value_name = "FILE")]
        event: PathBuf,
    },
}

/// Runs `command`.
pub(super) async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    let Command::Test { filter, event } = command;
    let extra_filter = String::from_utf8(read("filter", &filter).await?)
        .map_err(|_| Failure::new(format!("{}: not UTF-8 text", filter.display())))?;
    let sample = event_file::parse(&read("event", &event).await?)
        .map_err(|error| Failure::new(format!("{}: {error}", event.display())))?;
    let mut client = WebhookServiceClient::new(connect(global).await?);
    let request = v1::TestFilterRequest {
        extra_filter,
        event: Some(sample),
    };
    show(
        &client.test_filter(request).await?.into_inner(),
        global.output,
    )
}

async fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let read = tokio::fs::read(path).await;
    read.map_err(|error| unreadable(flag, path, &error))
}

fn show(answer: &v1::TestFilterResponse, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return document(&json!({
            "holds": answer.holds,
            "verdicts": answer.verdicts.iter().map(as_json).collect::<Value>(),
        }));
    }
    let head = ["NODE", "TYPE", "FIELD", "HOLDS", "VALUE"];
    list(output, &answer.verdicts, as_json, &head, as_row)?;
    line(if answer.holds {
        "the filter holds: the event is sent"
    } else {
        "the filter does not hold: the event is not sent"
    })
}

pub(super) fn as_json(node: &v1::FilterVerdict) -> Value {
    let looked = !node.value.is_empty();
    let element = node.element_number.checked_sub(1);
    json!({
        "path": node.path,
        "type": node.node_type,
        "field": (!node.field.is_empty()).then_some(&node.field),
        "holds": node.evaluated.then_some(node.holds),
        "value": looked.then_some(&node.value),
        "value_size_bytes": looked.then_some(node.value_size_bytes),
        "element": element,
    })
}

/// Characters of a value that fit a table.
const VALUE_CHARS: usize = 60;

fn as_row(node: &v1::FilterVerdict) -> Vec<String> {
    let holds = match (node.evaluated, node.holds) {
        (false, _) => "nothing to look at",
        (true, true) => "yes",
        (true, false) => "no",
    };
    let path = if node.path.is_empty() {
        "."
    } else {
        &node.path
    };
    [path, &node.node_type, &node.field, holds, &value(node)]
        .map(str::to_owned)
        .into()
}

fn value(node: &v1::FilterVerdict) -> String {
    if node.value.is_empty() {
        return if node.evaluated { "(missing)" } else { "" }.to_owned();
    }
    // One line each, without the blanks that lay a payload out.
    let words: Vec<&str> = node.value.split_whitespace().collect();
    let text = words.join(" ");
    let cut = text.char_indices().nth(VALUE_CHARS).map(|(at, _)| at);
    match cut {
        Some(at) => format!("{}…", &text[..at]),
        None if node.value_size_bytes > node.value.len() as u64 => format!("{text}…"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: &str, value_size_bytes: u64) -> v1::FilterVerdict {
        v1::FilterVerdict {
            path: "filters[0]".to_owned(),
            node_type: "is_null".to_owned(),
            evaluated: true,
            value: value.to_owned(),
            value_size_bytes,
            ..v1::FilterVerdict::default()
        }
    }

    #[test]
    fn values_fit_a_line() {
        assert_eq!(value(&node("", 0)), "(missing)");
        assert_eq!(value(&node("{\n  \"a\": 1\n}", 12)), "{ \"a\": 1 }");
        assert_eq!(value(&node("[1,", 900)), "[1,…");
        let long = value(&node(&"é".repeat(200), 400));
        assert_eq!(long, format!("{}…", "é".repeat(VALUE_CHARS)));
        let unseen = v1::FilterVerdict {
            evaluated: false,
            ..node("", 0)
        };
        assert_eq!(as_row(&unseen)[3..], ["nothing to look at", ""]);
    }

    #[test]
    fn for_programs_what_is_absent_is_null() {
        let shown = as_json(&v1::FilterVerdict {
            evaluated: false,
            ..node("", 0)
        });
        for name in ["field", "holds", "value", "value_size_bytes", "element"] {
            assert!(shown[name].is_null(), "{name}");
        }
        let shown = as_json(&v1::FilterVerdict {
            element_number: 1,
            ..node("[7]", 3)
        });
        assert_eq!(
            (&shown["holds"], &shown["element"]),
            (&json!(false), &json!(0))
        );
    }
}
