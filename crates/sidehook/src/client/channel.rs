//! The connection to the server, and what its failures mean for a person at a shell.

use std::{
    error::Error,
    fmt::{self, Display},
    future::Future,
    io,
    sync::Arc,
    time::Duration,
};

use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::Verifier;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{Global, terminal::harmless};

/// How long to wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A connection whose calls carry the key.
pub(super) type Api = InterceptedService<Channel, Bearer>;

/// What every call carries.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// Why a command failed: what is wrong, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    next: Vec<String>,
}

impl Failure {
    /// A failure that explains itself.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: Vec::new(),
        }
    }

    /// Adds a line: a detail, or what to do.
    pub(super) fn hint(mut self, line: impl Into<String>) -> Self {
        self.next.push(line.into());
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Much of it is what the server said, or a file.
        f.write_str(&harmless(&self.what))?;
        self.next
            .iter()
            .try_for_each(|line| write!(f, "\n  {}", harmless(line)))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let fields = status.get_details_bad_request();
        if let Some(wrong) = fields.filter(|wrong| !wrong.field_violations.is_empty()) {
            let failure = Self::new("the server refuses these fields:");
            return wrong
                .field_violations
                .into_iter()
                .fold(failure, |failure, field| {
                    failure.hint(format!("{}: {}", field.field, field.description))
                });
        }
        let failure = Self::new(match status.message() {
            "" => status.code().to_string(),
            message => message.to_owned(),
        });
        match status.code() {
            Code::Unauthenticated => failure.hint(
                "give the API key in SIDEHOOK_API_KEY, --api-key-file or --api-key; \
                 `sidehook dev` prints its key when it starts",
            ),
            Code::Aborted => failure.hint("read it again and repeat with the new --etag"),
            Code::Unavailable => failure.hint("this passes: try again in a moment"),
            _ => failure,
        }
    }
}

/// Connects to the server that `global` names.
///
/// # Errors
/// The URL, the key or the authorities are not usable, or nobody answers.
pub(super) async fn connect(global: &Global) -> Result<Api, Failure> {
    let server = &global.server;
    let unusable = |error: tonic::transport::Error| {
        Failure::new(format!("--server {server}: {}", chain(&error)))
    };
    let mut endpoint = Endpoint::from_shared(server.clone())
        .map_err(unusable)?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true);
    if server.starts_with("https:") {
        endpoint = secured(endpoint, global)?;
    }
    let bearer = Bearer(authorization(global)?);
    match endpoint.connect().await {
        Ok(channel) => Ok(InterceptedService::new(channel, bearer)),
        Err(error) => Err(
            Failure::new(format!("cannot reach {server}: {}", chain(&error)))
                .hint("is the server running? `make run` starts one; --server names another"),
        ),
    }
}

fn secured(endpoint: Endpoint, global: &Global) -> Result<Endpoint, Failure> {
    let config = ClientTlsConfig::new();
    let secured = match &global.ca_file {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| unreadable("--ca-file", path, &error))?;
            endpoint.tls_config(config.ca_certificate(Certificate::from_pem(pem)))
        }
        None => {
            let verifier = Verifier::new(Arc::new(aws_lc_rs::default_provider()))
                .map_err(|error| Failure::new(format!("the system's authorities: {error}")))?;
            endpoint.tls_config_with_verifier(config, Arc::new(verifier))
        }
    };
    secured.map_err(|error| Failure::new(format!("TLS: {}", chain(&error))))
}

/// The header; the file goes before the key, which may come from the environment.
fn authorization(global: &Global) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let key = match (&global.api_key_file, &global.api_key) {
        (Some(path), _) => std::fs::read_to_string(path)
            .map_err(|error| unreadable("--api-key-file", path, &error))?,
        (None, Some(key)) => key.clone(),
        (None, None) => return Ok(None),
    };
    let mut value = MetadataValue::try_from(format!("Bearer {}", key.trim()))
        .map_err(|_| Failure::new("the API key holds characters that a header cannot carry"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A file that cannot be read.
pub(super) fn unreadable(flag: &str, path: &std::path::Path, error: &io::Error) -> Failure {
    Failure::new(format!("{flag} {}: {error}", path.display()))
}

/// An error with its causes: the outermost alone says only "transport error".
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

/// Reads pages until `limit` items are there or the list ends. `call` gets the page's
/// size and token, and answers the items and the next token.
pub(super) async fn pages<T, F, Fut>(
    limit: u32,
    largest: u32,
    mut call: F,
) -> Result<Vec<T>, Failure>
where
    F: FnMut(u32, String) -> Fut,
    Fut: Future<Output = Result<(Vec<T>, String), Status>>,
{
    let wanted = limit as usize;
    let (mut items, mut token) = (Vec::new(), String::new());
    while items.len() < wanted {
        let missing = u32::try_from(wanted - items.len()).unwrap_or(largest);
        let (page, next) = call(missing.min(largest), token).await?;
        items.extend(page);
        if next.is_empty() {
            break;
        }
        token = next;
    }
    items.truncate(wanted);
    Ok(items)
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn wrong_fields_are_told_one_by_one() {
        let fields =
            [("url", "required"), ("events", "empty")].map(|(f, d)| FieldViolation::new(f, d));
        let details = ErrorDetails::with_bad_request(fields);
        let status = Status::with_error_details(Code::InvalidArgument, "2 fields", details);
        let text = Failure::from(status).to_string();
        assert_eq!(
            text,
            "the server refuses these fields:\n  url: required\n  events: empty"
        );
    }

    #[test]
    fn a_servers_message_cannot_steer_the_terminal() {
        let status = Status::internal("\x1b[2Jgone\nroot# ");
        let text = Failure::from(status).hint("\u{9b}1m").to_string();
        assert_eq!(text, "\\u001b[2Jgone\\u000aroot# \n  \\u009b1m");
    }

    #[test]
    fn a_missing_key_tells_how_to_give_one() {
        let text = Failure::from(Status::unauthenticated("no credential")).to_string();
        assert!(
            text.starts_with("no credential\n") && text.contains("SIDEHOOK_API_KEY"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn pages_end_with_the_list_or_the_limit() {
        let page = |size: u32, token: String| async move {
            let from: u32 = token.parse().unwrap_or(0);
            let next = if from + size >= 7 {
                String::new()
            } else {
                (from + size).to_string()
            };
            Ok((((from)..(from + size).min(7)).collect::<Vec<_>>(), next))
        };
        let all = pages(100, 3, page).await.expect("no call fails");
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(
            pages(4, 3, page).await.expect("no call fails"),
            [0, 1, 2, 3]
        );
    }
}
