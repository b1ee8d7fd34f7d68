//! The connection to the server, with the caller's key.

use std::{future::Future, io, path::Path, sync::Arc, time::Duration};

use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::Verifier;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{
    Failure, Global,
    reach::{check_plaintext, parts, told, unreachable},
};

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

/// Connects to the server that `global` names.
///
/// # Errors
/// The URL, the key or the authorities are not usable, or nobody answers.
pub(super) async fn connect(global: &Global) -> Result<Api, Failure> {
    let server = &global.server;
    let (scheme, _) = parts(server)?;
    let key = api_key(global.api_key_file.as_deref(), global.api_key.as_deref())?;
    if key.is_some() && !global.allow_plaintext {
        check_plaintext(server)?;
    }
    let unusable = |error: tonic::transport::Error| {
        Failure::new(format!("--server {server}: {}", told(&error)))
    };
    let mut endpoint = Endpoint::from_shared(server.clone())
        .map_err(unusable)?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true);
    if scheme == "https" {
        endpoint = secured(endpoint, global)?;
    }
    let bearer = Bearer(key.as_deref().map(authorization).transpose()?);
    match endpoint.connect().await {
        Ok(channel) => Ok(InterceptedService::new(channel, bearer)),
        Err(error) => Err(unreachable(server, &error)),
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
    secured.map_err(|error| Failure::new(format!("TLS: {}", told(&error))))
}

/// The header of the caller's key.
fn authorization(key: &str) -> Result<MetadataValue<Ascii>, Failure> {
    let mut value = MetadataValue::try_from(format!("Bearer {key}"))
        .map_err(|_| Failure::new("the API key holds characters that a header cannot carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The key that is given, without blanks around it; the file goes before the key, which
/// may come from the environment.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn api_key(file: Option<&Path>, key: Option<&str>) -> Result<Option<String>, Failure> {
    let read;
    let key = match (file, key) {
        (Some(path), _) => {
            read = std::fs::read_to_string(path)
                .map_err(|error| unreadable("--api-key-file", path, &error))?;
            Some(&*read)
        }
        (None, key) => key,
    };
    Ok(key.map(|key| key.trim().to_owned()))
}

/// A file that cannot be read.
pub(super) fn unreadable(flag: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{flag} {}: {error}", path.display()))
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
    use super::*;

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
