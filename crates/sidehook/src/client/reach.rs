//! What stands between this program and the server: from the errors of sockets and TLS
//! to what a person can do about them.
//!
//! Libraries wrap the cause several times, and say "transport error" outermost. So the
//! chain is walked down to what is known here: a certificate that is not believed, an
//! answer that is not TLS, a socket's error.

use std::{error::Error, io};

use rustls::{CertificateError, Error as TlsError};
use tonic::Status;

use super::Failure;

/// The scheme and the rest of a server's URL.
///
/// # Errors
/// It has no scheme that we speak.
pub(super) fn parts(server: &str) -> Result<(&str, &str), Failure> {
    let parts = server.split_once("://");
    if let Some((scheme @ ("http" | "https"), rest)) = parts.filter(|(_, rest)| !rest.is_empty()) {
        return Ok((scheme, rest));
    }
    let failure = Failure::new(format!("--server {server}: no http or https URL"));
    Err(match parts {
        None if !server.is_empty() => failure.hint(format!(
            "give --server http://{server}, or https://{server} if the server has TLS"
        )),
        _ => {
            failure.hint("give the URL of the control plane, such as https://sidehook.example:8701")
        }
    })
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
        "does the server have TLS? Then begin --server with https://; else it may be \
         restarting: try again in a moment",
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
        for (server, hint) in [
            ("127.0.0.1:8701", "give --server http://127.0.0.1:8701"),
            ("localhost", "https://localhost if"),
            ("ftp://host", "sidehook.example"),
            ("http://", "sidehook.example"),
            ("", "sidehook.example"),
        ] {
            let wrong = parts(server).expect_err(server).to_string();
            assert!(wrong.contains(hint), "{wrong}");
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
