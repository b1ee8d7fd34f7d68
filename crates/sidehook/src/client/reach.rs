//! What stands between this program and the server: from the errors of sockets and TLS
//! to what a person can do about them.
//!
//! Libraries wrap the cause several times, and say "transport error" outermost. So the
//! chain is walked down to what is known here: a certificate that is not believed, an
//! answer that is not TLS, a socket's error.

use std::{error::Error, io};

use rustls::{CertificateError, Error as TlsError};
use sidehook_runtime::loopback::is_loopback_host;
use tonic::Status;
use url::Url;

use super::Failure;

/// What a server's URL looks like.
const RIGHT: &str = "give the URL of the control plane, such as https://sidehook.example:8701";

/// The scheme, in lower case, and the rest of a server's URL.
///
/// # Errors
/// It has no scheme that we speak.
pub(super) fn parts(server: &str) -> Result<(&'static str, &str), Failure> {
    let parts = server.split_once("://");
    if let Some((scheme, rest)) = parts.filter(|(_, rest)| !rest.is_empty()) {
        let mut ours = ["http", "https"].into_iter();
        if let Some(scheme) = ours.find(|ours| scheme.eq_ignore_ascii_case(ours)) {
            return Ok((scheme, rest));
        }
        let what =
            format!("--server {server}: `{scheme}://` is not spoken, only http:// and https://");
        return Err(Failure::new(what).hint(RIGHT));
    }
    let failure = Failure::new(format!(
        "--server {server}: a URL begins with http:// or https://"
    ));
    Err(match parts {
        None if !server.is_empty() => failure.hint(format!(
            "give --server http://{server}, or https://{server} if the server has TLS"
        )),
        _ => failure.hint(RIGHT),
    })
}

/// Whether the API key may be sent to `server`: over TLS, or without leaving this machine.
///
/// # Errors
/// It would be readable on its way.
pub(super) fn check_plaintext(server: &str) -> Result<(), Failure> {
    let (scheme, _) = parts(server)?;
    let url = Url::parse(server)
        .map_err(|error| Failure::new(format!("--server {server}: {error}")).hint(RIGHT))?;
    if scheme == "https" || url.host_str().is_some_and(is_loopback_host) {
        return Ok(());
    }
    let what = format!("--server {server}: would send the API key without TLS beyond this machine");
    Err(Failure::new(what)
        .hint("use https://, or give --allow-plaintext (or SIDEHOOK_ALLOW_PLAINTEXT=true)"))
}

/// Why there is no connection to `server`.
pub(super) fn unreachable(server: &str, error: &(dyn Error + 'static)) -> Failure {
    let failure = Failure::new(format!("cannot reach {server}: {}", told(error)));
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    failure.hint(match cause(error) {
        Cause::Authority => {
            "nobody that this machine trusts vouches for the server's certificate: name the \
             authority that signed it with --ca-file FILE"
                .to_owned()
        }
        Cause::Name => {
            "the certificate is another host's: give --server a name that is in it".to_owned()
        }
        Cause::Certificate => "the server needs a better certificate".to_owned(),
        Cause::NotTls => {
            format!("the server does not speak TLS on this port: give --server http://{rest}")
        }
        Cause::Refused => {
            "is the server running? `make run` starts one; --server names another".to_owned()
        }
        Cause::Other => "is the host's name right, and is the server running there?".to_owned(),
    })
}

/// A connection that broke in the middle of a call; `None` if the server has answered.
/// A port with TLS takes the opening of a plaintext connection before it turns it down,
/// so that this shows only here, and in no words that tell it from a server's end.
pub(super) fn broken(status: &Status) -> Option<Failure> {
    // What a server answers has no source.
    let source = status.source()?;
    let failure = Failure::new(format!("the connection broke: {}", told(source)));
    Some(failure.hint(
        "does the server have TLS? Then begin --server with https://; else it may be restarting",
    ))
}

enum Cause {
    Authority,
    Name,
    Certificate,
    NotTls,
    Refused,
    Other,
}

fn cause(error: &(dyn Error + 'static)) -> Cause {
    for error in chain(error) {
        if let Some(tls) = error.downcast_ref::<TlsError>() {
            return match tls {
                TlsError::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::BadSignature,
                ) => Cause::Authority,
                TlsError::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                ) => Cause::Name,
                TlsError::InvalidCertificate(_) => Cause::Certificate,
                TlsError::InvalidMessage(_) => Cause::NotTls,
                _ => Cause::Other,
            };
        }
        if let Some(socket) = error.downcast_ref::<io::Error>()
            && socket.kind() == io::ErrorKind::ConnectionRefused
        {
            return Cause::Refused;
        }
    }
    Cause::Other
}

/// An error and its causes, those that hide in an error of input and output too.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let socket = error.downcast_ref::<io::Error>();
        match socket.and_then(io::Error::get_ref) {
            Some(hidden) => Some(hidden),
            None => error.source(),
        }
    })
}

/// An error with its causes: the outermost alone says only "transport error".
pub(super) fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in chain(error) {
        let cause = error.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(error: io::Error) -> String {
        unreachable("https://host:1", &error).to_string()
    }

    #[test]
    fn a_url_needs_a_scheme_that_we_speak() {
        assert!(matches!(parts("https://host:1"), Ok(("https", "host:1"))));
        assert!(matches!(parts("HTTP://host:1"), Ok(("http", "host:1"))));
        for (server, hint) in [
            ("127.0.0.1:8701", "give --server http://127.0.0.1:8701"),
            ("localhost", "https://localhost if"),
            (
                "ftp://host",
                "`ftp://` is not spoken, only http:// and https://",
            ),
            ("grpc://host:8701", "`grpc://` is not spoken"),
            ("http://", "sidehook.example"),
            ("", "sidehook.example"),
        ] {
            let wrong = parts(server).expect_err(server).to_string();
            assert!(wrong.contains(hint), "{wrong}");
        }
    }

    #[test]
    fn a_key_leaves_this_machine_only_over_tls() {
        for server in [
            "http://127.0.0.1:8701",
            "http://localhost:8701",
            "http://[::1]:8701",
            "https://sidehook.example",
        ] {
            assert!(check_plaintext(server).is_ok(), "{server}");
        }
        for server in [
            "http://sidehook.example:8701",
            "HTTP://10.0.0.1",
            "http://localhost.example",
            "http://127.0.0.1@sidehook.example",
        ] {
            let told = check_plaintext(server).expect_err(server).to_string();
            assert!(told.contains("without TLS beyond this machine"), "{told}");
            assert!(told.contains("--allow-plaintext"), "{told}");
        }
    }

    #[test]
    fn causes_are_told_apart() {
        let certificate = |wrong| io::Error::other(TlsError::InvalidCertificate(wrong));
        let told = advice(certificate(CertificateError::UnknownIssuer));
        assert!(
            told.contains("UnknownIssuer") && told.contains("--ca-file"),
            "{told}"
        );
        let told = advice(certificate(CertificateError::NotValidForName));
        assert!(told.contains("another host's"), "{told}");
        let not_tls = TlsError::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let told = advice(io::Error::other(not_tls));
        assert!(told.contains("http://host:1"), "{told}");
        let told = advice(io::ErrorKind::ConnectionRefused.into());
        assert!(told.contains("make run"), "{told}");
        let told = advice(io::ErrorKind::TimedOut.into());
        assert!(!told.contains("make run"), "{told}");
    }
}
