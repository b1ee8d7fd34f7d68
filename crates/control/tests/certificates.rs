//! Client certificates as credentials, over real TLS.
#![allow(clippy::unwrap_used, reason = "a failing test shows where")]

mod support;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use sidehook_api::v1;
use sidehook_control::auth::{ClientIdentity, certificates::CertificateName};
use sidehook_core::{id::TenantId, principal::Role};
use sidehook_runtime::tls::TlsFiles;
use support::{Api, assert_reason, event, start_with, with};
use tempfile::TempDir;
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity},
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Identity::from_pem(certificate.pem(), key.serialize_pem())
}

fn with_uri(authority: &Authority, uri: &str) -> Identity {
    client(authority, |params| {
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    })
}

/// A control plane with TLS, where certificates are asked for and not required.
struct Secured {
    api: Api,
    clients: Authority,
    server_pem: String,
    _files: TempDir,
}

async fn secured(identities: impl FnOnce(TenantId) -> Vec<ClientIdentity>) -> Secured {
    let (clients, files) = (authority(), tempfile::tempdir().unwrap());
    let server = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let server_pem = server.cert.pem();
    let path = |name: &str| files.path().join(name);
    std::fs::write(path("cert.pem"), &server_pem).unwrap();
    std::fs::write(path("key.pem"), server.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("clients.pem"), clients.pem()).unwrap();
    // The tenant must be there before its identities are: two planes over one store.
    let first = start_with(|_| {}).await;
    let identities = identities(first.tenant.parse().unwrap());
    let mut api = support::over(first.store.clone(), |config| {
        config.identities = identities;
        config.grpc.tls = Some(TlsFiles {
            cert_file: path("cert.pem"),
            key_file: path("key.pem"),
            client_ca_file: Some(path("clients.pem")),
            client_cert_required: false,
        });
    })
    .await;
    api.tenant.clone_from(&first.tenant);
    api.admin.clone_from(&first.admin);
    Secured {
        api,
        clients,
        server_pem,
        _files: files,
    }
}

impl Secured {
    fn channel(&self, identity: Option<Identity>) -> Channel {
        let trusted = Certificate::from_pem(&self.server_pem);
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(trusted)
            .domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let address = format!("https://localhost:{}", self.api.plane.grpc.port());
        let endpoint = Channel::from_shared(address).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    }

    /// Publishes, which tells who may, and lists, which tells who else may.
    async fn publish(&self, channel: &Channel, key: Option<&str>) -> Result<(), Status> {
        let mut events = v1::event_service_client::EventServiceClient::new(channel.clone());
        let message = v1::PublishEventRequest {
            event: Some(event()),
        };
        let request = match key {
            None => Request::new(message),
            Some(key) => with(key, message),
        };
        events.publish_event(request).await.map(drop)
    }
}

fn identity(name: CertificateName, tenant: TenantId, role: Role) -> ClientIdentity {
    ClientIdentity { name, tenant, role }
}

const BILLING: &str = "spiffe://acme.example/billing";

#[tokio::test]
async fn a_verified_certificate_with_a_known_name_is_a_credential() {
    let plane = secured(|tenant| {
        let subject = "O=Acme, CN=reports".parse().unwrap();
        vec![
            identity(
                CertificateName::alternative(BILLING),
                tenant,
                Role::Publisher,
            ),
            identity(
                CertificateName::alternative("Search.internal"),
                tenant,
                Role::Publisher,
            ),
            identity(subject, tenant, Role::Viewer),
            identity(
                CertificateName::alternative("spiffe://acme.example/nowhere"),
                TenantId::from_bits(99),
                Role::Publisher,
            ),
        ]
    })
    .await;
    let billing = plane.channel(Some(with_uri(&plane.clients, BILLING)));
    plane.publish(&billing, None).await.unwrap();
    let search = client(&plane.clients, |params| {
        let name = "search.internal".try_into().unwrap();
        params.subject_alt_names = vec![SanType::DnsName(name)];
    });
    let search = plane.channel(Some(search));
    plane.publish(&search, None).await.unwrap();

    let reports = client(&plane.clients, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme");
        params
            .distinguished_name
            .push(DnType::CommonName, "reports");
    });
    let reports = plane.channel(Some(reports));
    let refused = plane.publish(&reports, None).await;
    assert_reason(refused, Code::PermissionDenied, "RIGHT_MISSING");
    let sham = client(&plane.clients, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme, CN=reports");
    });
    for stranger in [
        sham,
        with_uri(&plane.clients, "spiffe://acme.example/billing/2"),
        with_uri(&plane.clients, "spiffe://acme.example/nowhere"),
        client(&plane.clients, |_| {}),
    ] {
        let channel = plane.channel(Some(stranger));
        let refused = plane.publish(&channel, None).await;
        assert_reason(refused, Code::Unauthenticated, "INVALID_CREDENTIAL");
    }
}

#[tokio::test]
async fn a_bearer_credential_wins_and_without_either_nobody_calls() {
    let plane = secured(|tenant| {
        let name = CertificateName::alternative(BILLING);
        vec![identity(name, tenant, Role::Publisher)]
    })
    .await;
    let billing = plane.channel(Some(with_uri(&plane.clients, BILLING)));
    let refused = plane.publish(&billing, Some("shk_0000")).await;
    assert_reason(refused, Code::Unauthenticated, "INVALID_CREDENTIAL");
    let mut webhooks = v1::webhook_service_client::WebhookServiceClient::new(billing.clone());
    let list = v1::ListSubscriptionsRequest::default();
    let refused = webhooks
        .list_subscriptions(Request::new(list.clone()))
        .await;
    assert_reason(refused, Code::PermissionDenied, "RIGHT_MISSING");
    let listed = webhooks.list_subscriptions(with(&plane.api.admin, list));
    listed.await.unwrap();
    let bare = plane.channel(None);
    assert_reason(
        plane.publish(&bare, None).await,
        Code::Unauthenticated,
        "NO_CREDENTIAL",
    );
    plane.publish(&bare, Some(&plane.api.admin)).await.unwrap();
    // One of another authority does not even shake hands.
    let foreign = plane.channel(Some(with_uri(&authority(), BILLING)));
    let refused = plane.publish(&foreign, None).await.unwrap_err();
    assert_ne!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(
        refused.metadata().get("content-type").is_none(),
        "nobody answered: {refused:?}"
    );
}
