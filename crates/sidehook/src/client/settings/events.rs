//! The flags that say which events are wanted, and how they are sent.

use std::path::Path;

use sidehook_api::v1;

/// Which events, and what a request says of them; each flag may be left out.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct EventFlags {
    /// What to send, as KIND:ACTION with `*` for all; may be repeated. After a blank a
    /// filter may follow that must hold for the event, as JSON or as `@FILE`:
    /// 'lead:updated @filter.json'
    #[arg(long, value_name = "KIND:ACTION", value_parser = pattern)]
    events: Vec<v1::EventPattern>,
    /// Only events of this campaign; of all if empty
    #[arg(long, value_name = "ID")]
    campaign: Option<String>,
    /// What a request carries of its event
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Name of a header that says KIND:ACTION of the event; none if empty
    #[arg(long, value_name = "NAME")]
    event_header: Option<String>,
}

/// What a request carries of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The event in an envelope, with the subscription's id; the default
    Envelope,
    /// The event's data alone
    Raw,
    /// The event's data, and headers of CloudEvents
    CloudEventsBinary,
    /// An object of CloudEvents with the data in it
    CloudEventsStructured,
}

impl From<Format> for v1::DeliveryFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Envelope => Self::Envelope,
            Format::Raw => Self::Raw,
            Format::CloudEventsBinary => Self::CloudEventsBinary,
            Format::CloudEventsStructured => Self::CloudEventsStructured,
        }
    }
}

impl EventFlags {
    /// The fields of a mask whose flags were given.
    pub(super) fn given(&self) -> [(&'static str, bool); 4] {
        [
            ("events", !self.events.is_empty()),
            ("campaign_id", self.campaign.is_some()),
            ("format", self.format.is_some()),
            ("event_header", self.event_header.is_some()),
        ]
    }

    /// A subscription that has these fields alone.
    pub(super) fn into_subscription(self) -> v1::Subscription {
        let format = self.format.map(v1::DeliveryFormat::from);
        v1::Subscription {
            events: self.events,
            campaign_id: self.campaign.unwrap_or_default(),
            format: format.unwrap_or_default().into(),
            event_header: self.event_header.unwrap_or_default(),
            ..v1::Subscription::default()
        }
    }
}

fn pattern(text: &str) -> Result<v1::EventPattern, String> {
    // Kinds and actions have no blanks.
    let (pattern, filter) = text.split_once(' ').unwrap_or((text, ""));
    let (object_type, action) = pattern
        .split_once(':')
        .ok_or("not KIND:ACTION, for example `opportunity:updated`")?;
    Ok(v1::EventPattern {
        object_type: object_type.to_owned(),
        action: action.to_owned(),
        extra_filter: match filter.trim() {
            filter if filter.starts_with('@') => of_file(&filter[1..])?,
            filter => filter.to_owned(),
        },
    })
}

/// The filter in a file. An empty one would mean none.
fn of_file(path: &str) -> Result<String, String> {
    let read = std::fs::read_to_string(Path::new(path));
    let text = read.map_err(|error| format!("the filter's file `{path}`: {error}"))?;
    match text.trim() {
        "" => Err(format!("the filter's file `{path}` is empty")),
        filter => Ok(filter.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_filter_follows_its_pattern() {
        let filter = r#"{"type": "is_null"}"#;
        for (text, expected) in [
            ("lead:*".to_owned(), ""),
            (format!("lead:* {filter}"), filter),
            (format!("lead:*   {filter} "), filter),
        ] {
            let read = pattern(&text).expect("a pattern");
            assert_eq!((&*read.object_type, &*read.action), ("lead", "*"));
            assert_eq!(read.extra_filter, expected, "{text}");
        }
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "{filter}").expect("written");
        let path = file.path().display();
        let read = pattern(&format!("lead:* @{path}")).expect("a pattern");
        assert_eq!(read.extra_filter, filter);
    }

    #[test]
    fn what_is_no_pattern_or_no_file_is_refused() {
        assert!(pattern("lead").is_err());
        assert!(pattern("lead {}").is_err());
        let missing = pattern("lead:* @no/such/file").expect_err("missing");
        assert!(missing.contains("no/such/file"), "{missing}");
        let empty = tempfile::NamedTempFile::new().expect("a file");
        assert!(pattern(&format!("lead:* @{}", empty.path().display())).is_err());
    }
}
