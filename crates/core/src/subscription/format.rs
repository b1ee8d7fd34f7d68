//! What a request carries of its event.

/// The form of a request's body, and which headers tell of the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// The event within an envelope: `{"event": {…}, "subscription_id": "…"}`.
    #[default]
    Envelope,
    /// The event's `data`, byte for byte.
    Raw,
    /// CloudEvents 1.0 in binary mode: the event's `data`, the rest in headers.
    CloudEventsBinary,
    /// CloudEvents 1.0 in structured mode: a JSON object with all of it.
    CloudEventsStructured,
    /// One that a later version chose and this one does not know. Nothing is sent in
    /// another form instead.
    Unknown,
}

/// What the names of CloudEvents' headers begin with, in lower case.
const CLOUD_EVENTS: &str = "ce-";

impl Format {
    /// Whether requests of this format have a header of this name, in any case, that
    /// those of other formats do not have.
    #[must_use]
    pub fn sets(self, header: &str) -> bool {
        let begins = header.get(..CLOUD_EVENTS.len());
        self == Self::CloudEventsBinary
            && begins.is_some_and(|begins| begins.eq_ignore_ascii_case(CLOUD_EVENTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_binary_mode_has_headers_of_its_own() {
        let binary = Format::CloudEventsBinary;
        assert!(binary.sets("ce-id") && binary.sets("CE-Anything") && binary.sets("ce-"));
        assert!(!binary.sets("ce") && !binary.sets("cent-id") && !binary.sets("é-"));
        for other in [
            Format::Envelope,
            Format::Raw,
            Format::CloudEventsStructured,
            Format::Unknown,
        ] {
            assert!(!other.sets("ce-id"), "{other:?}");
        }
    }
}
