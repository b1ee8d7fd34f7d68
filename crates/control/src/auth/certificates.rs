//! Client certificates as credentials, for services inside the operator's own network.
//!
//! The listener has verified the certificate against its client authorities before
//! anything here sees it; what is decided here is who its bearer is. That is a list in the
//! configuration: a name in the certificate, and the tenant and role that go with it. A
//! name is a URI or a DNS name among the certificate's alternative names, or its whole
//! subject, compared attribute by attribute and not as text, so that an attribute whose
//! value holds a comma cannot pass for two. Of several entries that fit, the first counts.

use core::{fmt, str::FromStr, time::Duration};
use std::sync::Arc;

use sidehook_core::{
    id::TenantId,
    principal::{Principal, Role},
};
use sidehook_runtime::config::Reader;
use x509_parser::{
    extensions::GeneralName,
    objects::{oid_registry, oid2abbrev},
    parse_x509_certificate,
    prelude::X509Certificate,
};

use super::{key::KeyDigest, subject::is_id, tokens::tenant_role};

/// Bytes of the longest name that is taken: it is a subject in records.
const NAME_BYTES: usize = sidehook_core::limits::SUBJECT_BYTES;

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// A URI among the alternative names, exactly.
    Uri(String),
    /// A DNS name among the alternative names, in lower case.
    Dns(String),
    /// The whole subject: short names of attributes, and their values.
    Subject(Vec<(String, String)>),
}

/// The text is no name of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected attributes in the order of the certificate, for example `O=Acme, CN=billing`")]
pub struct ParseSubjectError;

impl CertificateName {
    /// A URI, if it has the form of one, else a DNS name.
    #[must_use]
    pub fn alternative(text: &str) -> Self {
        if text.contains(':') {
            Self::Uri(text.to_owned())
        } else {
            Self::Dns(text.to_ascii_lowercase())
        }
    }
}

impl FromStr for CertificateName {
    type Err = ParseSubjectError;

    /// A subject.
    fn from_str(text: &str) -> Result<Self, ParseSubjectError> {
        let attribute = |part: &str| {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
            (is_name && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
        };
        let attributes: Option<_> = text.split(',').map(attribute).collect();
        attributes.map(Self::Subject).ok_or(ParseSubjectError)
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(name) | Self::Dns(name) => f.write_str(name),
            Self::Subject(attributes) => {
                for (index, (name, value)) in attributes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{name}={value}")?;
                }
                Ok(())
            }
        }
    }
}

/// Who the bearers of certificates with a name are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The name.
    pub name: CertificateName,
    /// The tenant; [`TenantId::PLATFORM`] for an operator.
    pub tenant: TenantId,
    /// What they may do.
    pub role: Role,
}

impl ClientIdentity {
    /// Reads the sections `[[identities]]`: `san` or `subject`, `tenant` and `role`.
    pub fn read_all(r: &mut Reader<'_>) -> Vec<Self> {
        let all = r.sections("identities", Self::read);
        let all: Vec<_> = all.into_iter().flatten().collect();
        for (index, one) in all.iter().enumerate() {
            if all[..index].iter().any(|other| other.name == one.name) {
                let wrong = format!("`{}` is there twice: the first would count", one.name);
                r.problem("identities", wrong, "give each name one role");
            }
        }
        all
    }

    fn read(r: &mut Reader<'_>) -> Option<Self> {
        let name = read_name(r);
        let word: Option<String> = r.required("role");
        let tenant: Option<String> = r.optional("tenant");
        let role = word.and_then(|word| match word.as_str() {
            "operator" => Some(Role::Operator),
            word => tenant_role(word).or_else(|| {
                let right = "use one of admin, member, publisher, viewer and operator";
                r.problem("role", format!("`{word}` is not known"), right);
                None
            }),
        })?;
        let tenant = match (&role, tenant) {
            (Role::Operator, None) => TenantId::PLATFORM,
            (Role::Operator, Some(_)) => {
                r.problem("tenant", "an operator has none", "leave it out");
                return None;
            }
            (_, Some(text)) if text.parse::<TenantId>().is_ok() => text.parse().ok()?,
            _ => {
                let right = "give the id of the tenant whose service this is";
                r.problem("tenant", "is missing, or no tenant's id", right);
                return None;
            }
        };
        Some(Self {
            name: name?,
            tenant,
            role,
        })
    }

    /// Whether a caller of this tenant who is called so would pass for the bearer.
    pub(super) fn is_called(&self, tenant: TenantId, subject: &str) -> bool {
        self.tenant == tenant && self.name.to_string() == subject
    }

    /// Who bears this certificate.
    pub(super) fn among(all: &[Self], certificate: &PeerCertificate) -> Option<Principal> {
        let one = all.iter().find(|one| certificate.is_called(&one.name))?;
        Some(Principal {
            tenant: one.tenant,
            subject: one.name.to_string(),
            role: one.role.clone(),
        })
    }
}

fn read_name(r: &mut Reader<'_>) -> Option<CertificateName> {
    let (san, subject): (Option<String>, Option<String>) =
        (r.optional("san"), r.optional("subject"));
    let (key, text, name) = match (san, subject) {
        (Some(text), None) => {
            let name = CertificateName::alternative(&text);
            ("san", text, Ok(name))
        }
        (None, Some(text)) => {
            let name = text.parse();
            ("subject", text, name)
        }
        _ => {
            let right = "give one of san and subject: the name in the certificate";
            r.problem("san", "and subject are both given, or both missing", right);
            return None;
        }
    };
    if text.is_empty() || text.len() > NAME_BYTES {
        let right = format!("give 1 to {NAME_BYTES} bytes");
        r.problem(key, "is too long, or empty", right);
        return None;
    }
    match name {
        Ok(name) if is_id(&name.to_string()) => {
            let right = "give a name that is none of Sidehook's ids: those are keys' and users'";
            r.problem(key, "is an id", right);
            None
        }
        Ok(name) => Some(name),
        Err(error) => {
            r.problem(key, "is no subject", error.to_string());
            None
        }
    }
}

/// A certificate that the listener has verified.
#[derive(Debug)]
pub struct PeerCertificate {
    pub(super) digest: KeyDigest,
    names: Vec<CertificateName>,
    /// Its last moment, since the epoch.
    pub(super) not_after: Duration,
}

impl PeerCertificate {
    /// Reads a certificate in DER; `None` if it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Arc<Self>> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let not_after = certificate.validity().not_after.timestamp();
        Some(Arc::new(Self {
            digest: KeyDigest::of_bytes(der),
            names: names(&certificate),
            not_after: Duration::from_secs(u64::try_from(not_after).ok()?),
        }))
    }

    fn is_called(&self, name: &CertificateName) -> bool {
        self.names.contains(name)
    }
}

/// All names of a certificate. A subject with an attribute that is no text, or of a kind
/// without a short name, is not one that anybody could have written down.
fn names(certificate: &X509Certificate<'_>) -> Vec<CertificateName> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative.iter().flat_map(|all| &all.value.general_names);
    let mut names: Vec<_> = alternative
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(CertificateName::Uri((*uri).to_owned())),
            GeneralName::DNSName(dns) => Some(CertificateName::Dns(dns.to_ascii_lowercase())),
            _ => None,
        })
        .collect();
    let attributes = certificate.subject().iter_attributes();
    let attributes: Option<Vec<_>> = attributes
        .map(|one| {
            let name = oid2abbrev(one.attr_type(), oid_registry()).ok()?;
            Some((name.to_owned(), one.as_str().ok()?.to_owned()))
        })
        .collect();
    let subject = attributes.filter(|attributes| !attributes.is_empty());
    names.extend(subject.map(CertificateName::Subject));
    names
}

#[cfg(test)]
mod tests;
