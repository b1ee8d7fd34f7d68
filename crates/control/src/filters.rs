//! Trying filters out, before a subscription has them.

use sidehook_api::{event::from_proto, v1};
use sidehook_core::{
    filter::{Filter, NodeVerdict},
    id::TenantId,
    limits::{EVENT_BYTES_DEFAULT, FILTER_SHOWN_BYTES},
    violation::Violations,
};

use crate::errors::OperationError;

/// Evaluates a filter on an event as if `tenant` published it.
///
/// # Errors
/// Everything that is wrong with either.
pub(crate) fn test(
    tenant: TenantId,
    request: v1::TestFilterRequest,
) -> Result<v1::TestFilterResponse, OperationError> {
    let mut violations = Violations::new();
    let filter = Filter::parse(&request.extra_filter, "extra_filter");
    let filter = filter.map_err(|wrong| violations.extend(wrong));
    let event = match request.event {
        None => {
            violations.add("event", "required");
            Err(())
        }
        Some(event) => from_proto(event, EVENT_BYTES_DEFAULT)
            .map_err(|wrong| violations.extend(wrong.under("event"))),
    };
    let (Ok(filter), Ok(event)) = (filter, event) else {
        return Err(violations.into());
    };
    let event = event.to_json(tenant);
    let verdicts = filter
        .explain(&event)
        .map_err(|error| OperationError::field("event", error.to_string()))?;
    Ok(v1::TestFilterResponse {
        holds: verdicts.first().and_then(|root| root.holds) == Some(true),
        verdicts: verdicts.into_iter().map(verdict).collect(),
    })
}

fn verdict(found: NodeVerdict<'_>) -> v1::FilterVerdict {
    let shown = |text: &str| text[..text.floor_char_boundary(FILTER_SHOWN_BYTES)].to_owned();
    v1::FilterVerdict {
        path: found.path,
        node_type: found.kind.to_owned(),
        field: found.field,
        evaluated: found.holds.is_some(),
        holds: found.holds == Some(true),
        value: found.value.map(shown).unwrap_or_default(),
        value_bytes: found.value.map_or(0, str::len) as u64,
        element_number: found.element.map_or(0, |index| index as u64 + 1),
    }
}
