//! Listens to the steps that control plane and agent report of themselves.

use std::{
    collections::HashMap,
    fmt::{Debug, Write as _},
    sync::{Arc, OnceLock},
};

use sidehook_core::{address::DeliveryId, id::SubscriptionNumber};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    layer::{Context, Layer},
};

use super::screen::Screen;

/// The target of the steps.
const TARGET: &str = "sidehook::journey";

/// The receivers' names, known once the subscriptions are made.
pub(super) type Names = Arc<OnceLock<HashMap<SubscriptionNumber, &'static str>>>;

/// The layer that shows the steps on `screen`, and sees nothing else.
pub(super) fn layer(screen: Screen, names: Names) -> Box<dyn Layer<Registry> + Send + Sync> {
    let filter = Targets::new().with_target(TARGET, Level::DEBUG);
    Box::new(Journey { screen, names }.with_filter(filter))
}

struct Journey {
    screen: Screen,
    names: Names,
}

impl<S: Subscriber> Layer<S> for Journey {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut step = Step::default();
        event.record(&mut step);
        let who = match step.name.as_str() {
            "signed" | "posted" => "agent",
            _ => "control plane",
        };
        let mut about = match step.delivery.parse::<DeliveryId>() {
            Ok(delivery) => self.receiver(delivery).to_owned(),
            Err(_) => step.event,
        };
        about.push_str(&step.details);
        if let Some(meaning) = meaning(&step.name) {
            about.push_str(": ");
            about.push_str(meaning);
        }
        self.screen.step(who, &step.name, &about);
    }
}

impl Journey {
    fn receiver(&self, delivery: DeliveryId) -> &'static str {
        let names = self.names.get();
        let name = names.and_then(|names| names.get(&delivery.subscription()));
        name.copied().unwrap_or("?")
    }
}

/// What a step is, where its name alone does not tell.
fn meaning(step: &str) -> Option<&'static str> {
    match step {
        "published" => Some("stored"),
        "leased" => Some("taken from the queue"),
        "assigned" => Some("sent to the agent"),
        "retrying" => Some("due again later"),
        _ => None,
    }
}

/// The fields of one step.
#[derive(Default)]
struct Step {
    name: String,
    delivery: String,
    event: String,
    details: String,
}

impl Visit for Step {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "step" => write!(self.name, "{value:?}"),
            "delivery" => write!(self.delivery, "{value:?}"),
            "event" => write!(self.event, "{value:?}"),
            "attempt" => write!(self.details, ", attempt {value:?}"),
            "status" => write!(self.details, ", status {value:?}"),
            "matched" => write!(self.details, ", {value:?} subscriptions"),
            "took" => write!(self.details, ", in {value:?}"),
            _ => Ok(()),
        };
    }
}
