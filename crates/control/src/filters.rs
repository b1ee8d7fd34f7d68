//! Trying filters out, before a subscription has them.

use sidehook_api::{event::from_proto, v1};
use sidehook_core::{
    event::Event,
    filter::{Filter, NodeVerdict, TooCostly, Unexplained},
    id::TenantId,
    limits::FILTER_SHOWN_BYTES,
    violation::Violations,
};

use crate::errors::OperationError;

/// A filter, and the event on which it is to be tried out.
#[derive(Debug)]
pub(crate) struct Trial {
    filter: Filter,
    event: Event,
}

/// Reads what is to be tried out; payloads have at most `payload_max` bytes.
///
/// # Errors
/// Everything that is wrong with either.
pub(crate) fn read(
    payload_max: usize,
    request: v1::TestFilterRequest,
) -> Result<Trial, OperationError> {
    let mut violations = Violations::new();
    let filter = Filter::parse(&request.extra_filter, "extra_filter");
    let filter = filter.map_err(|wrong| violations.extend(wrong));
    let event = match request.event {
        None => {
            violations.add("event", "required");
            Err(())
        }
        Some(event) => {
            from_proto(event, payload_max).map_err(|wrong| violations.extend(wrong.under("event")))
        }
    };
    let (Ok(filter), Ok(event)) = (filter, event) else {
        return Err(violations.into());
    };
    Ok(Trial { filter, event })
}

impl Trial {
    /// Evaluates the filter on the event as if `tenant` published it. It may take some tens
    /// of milliseconds, so not on a thread that others wait for.
    ///
    /// # Errors
    /// The filter takes too many steps.
    pub(crate) fn evaluate(
        &self,
        tenant: TenantId,
    ) -> Result<v1::TestFilterResponse, OperationError> {
        let event = self.event.to_json(tenant);
        let verdicts = self.filter.explain(&event).map_err(|error| match error {
            Unexplained::Malformed(error) => OperationError::field("event", error.to_string()),
            Unexplained::TooCostly(error) => too_costly(error),
        })?;
        Ok(v1::TestFilterResponse {
            holds: verdicts.first().and_then(|root| root.holds) == Some(true),
            verdicts: verdicts.into_iter().map(verdict).collect(),
        })
    }
}

/// The same where events are published and where filters are tried out.
pub(crate) fn too_costly(error: TooCostly) -> OperationError {
    OperationError::Exhausted {
        reason: "FILTERS_TOO_COSTLY",
        message: error.to_string(),
        retry_after: None,
    }
}

pub(crate) fn verdict(found: NodeVerdict<'_>) -> v1::FilterVerdict {
    let shown = |text: &str| text[..text.floor_char_boundary(FILTER_SHOWN_BYTES)].to_owned();
    v1::FilterVerdict {
        path: found.path,
        node_type: found.kind.to_owned(),
        field: found.field,
        evaluated: found.holds.is_some(),
        holds: found.holds == Some(true),
        value: found.value.map(shown).unwrap_or_default(),
        value_size_bytes: found.value.map_or(0, str::len) as u64,
        element_number: found.element.map_or(0, |index| index as u64 + 1),
    }
}
