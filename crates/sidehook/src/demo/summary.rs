//! The table at the end, from what the API answers and what the receivers found.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use sidehook_api::v1;
use sidehook_testkit::client::Client;

use super::{
    screen::Screen,
    story::{Party, refused},
};

/// Shows how the deliveries ended, and checks that both sides agree on it.
///
/// # Errors
/// A delivery is not made, a receiver refused a request, or fewer requests arrived
/// than attempts are recorded.
pub(super) async fn show(
    screen: &Screen,
    client: &Client,
    parties: &[Party],
    deliveries: &[String],
) -> Result<(), String> {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header([
        "Receiver",
        "Attempts",
        "Last status",
        "Signature",
        "State",
        "Took",
    ]);
    let mut problems = Vec::new();
    let mut all = Vec::with_capacity(deliveries.len());
    for id in deliveries {
        let request = v1::GetDeliveryRequest { id: id.clone() };
        let answer = client.deliveries().get_delivery(request).await;
        let answer = answer.map_err(|status| refused(id, &status))?.into_inner();
        all.extend(answer.delivery);
    }
    for party in parties {
        let own = all
            .iter()
            .find(|one| one.subscription_id == party.subscription);
        match own {
            Some(delivery) => problems.extend(add(&mut table, party, delivery)),
            None => problems.push(format!("{}: no delivery", party.name)),
        }
    }
    screen.text(format!("\n{table}\nDone in {} ms.\n", screen.elapsed_ms()));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("; "))
    }
}

/// Adds a receiver's row; answers what is wrong with it.
fn add(table: &mut Table, party: &Party, delivery: &v1::Delivery) -> Option<String> {
    let result = party.check.result();
    let signature = match &result {
        Ok(good) => format!("{}: {good} verified", party.scheme),
        Err(_) => format!("{}: WRONG", party.scheme),
    };
    let state = delivery.state();
    let words = state.as_str_name().trim_start_matches("DELIVERY_STATE_");
    let last = delivery.attempts.last();
    table.add_row([
        party.name.to_owned(),
        delivery.attempt_count.to_string(),
        last.map_or_else(|| "-".to_owned(), |last| last.response_status.to_string()),
        signature,
        words.to_lowercase(),
        took(&delivery.attempts).map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
    ]);
    match result {
        Err(problem) => Some(problem),
        Ok(good) if good != delivery.attempt_count => Some(format!(
            "{}: {good} requests arrived in {} attempts",
            party.name, delivery.attempt_count
        )),
        Ok(_) if state != v1::DeliveryState::Delivered => {
            Some(format!("{}: {}", party.name, delivery.reason))
        }
        Ok(_) => None,
    }
}

/// Milliseconds from the beginning of the first attempt to the end of the last.
fn took(attempts: &[v1::Attempt]) -> Option<i128> {
    let (first, last) = (attempts.first()?, attempts.last()?);
    let nanos = |seconds: i64, nanos: i32| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let begin = first
        .started_at
        .as_ref()
        .map(|at| nanos(at.seconds, at.nanos))?;
    let end = last
        .started_at
        .as_ref()
        .map(|at| nanos(at.seconds, at.nanos))?;
    let length = last
        .duration
        .as_ref()
        .map_or(0, |span| nanos(span.seconds, span.nanos));
    Some((end + length - begin) / 1_000_000)
}
