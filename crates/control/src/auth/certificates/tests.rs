//! Names of certificates, and what the configuration says of them.

use sidehook_runtime::config::Layers;

use super::*;

const ZEROS: &str = "0000000000000000000000";

fn read(toml: &str) -> Result<Vec<ClientIdentity>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.toml");
    std::fs::write(&file, toml).expect("written");
    let layers = Layers::new().file(&file);
    let read = layers.read(|r| Some(ClientIdentity::read_all(r)));
    read.map_err(|problems| problems.to_string())
}

#[test]
fn names_tenants_and_roles_are_read() {
    let tenant = TenantId::from_bits(7);
    let toml = format!(
        "[[identities]]\nsan = 'spiffe://acme/billing'\ntenant = '{tenant}'\nrole = 'publisher'\n\
         [[identities]]\nsan = 'Ops.internal'\nrole = 'operator'\n\
         [[identities]]\nsubject = 'C=DE, O=Acme , CN=reports'\ntenant = '{tenant}'\nrole = 'member'\n"
    );
    let all = read(&toml).expect("all right");
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let subject = [("C", "DE"), ("O", "Acme"), ("CN", "reports")];
    let subject = subject.map(|(name, value)| attribute(name, value)).to_vec();
    let wanted = [
        (
            CertificateName::Uri("spiffe://acme/billing".to_owned()),
            tenant,
            Role::Publisher,
        ),
        (
            CertificateName::Dns("ops.internal".to_owned()),
            TenantId::PLATFORM,
            Role::Operator,
        ),
        (CertificateName::Subject(subject), tenant, Role::Member),
    ];
    let wanted = wanted.map(|(name, tenant, role)| ClientIdentity { name, tenant, role });
    assert_eq!(all, wanted);
    assert_eq!(all[2].name.to_string(), "C=DE, O=Acme, CN=reports");
}

#[test]
fn what_is_wrong_is_told() {
    let tenant = TenantId::from_bits(7);
    for (toml, said) in [
        ("role = 'viewer'".to_owned(), "san"),
        (
            format!("san = 'a'\nsubject = 'CN=a'\ntenant = '{tenant}'\nrole = 'viewer'"),
            "san",
        ),
        (
            format!("subject = 'billing'\ntenant = '{tenant}'\nrole = 'viewer'"),
            "subject",
        ),
        (
            format!("subject = 'CN='\ntenant = '{tenant}'\nrole = 'viewer'"),
            "subject",
        ),
        (
            format!("san = ''\ntenant = '{tenant}'\nrole = 'viewer'"),
            "san",
        ),
        (format!("san = 'a'\ntenant = '{tenant}'"), "role"),
        (
            format!("san = 'a'\ntenant = '{tenant}'\nrole = 'agent'"),
            "role",
        ),
        (
            format!("san = 'a'\ntenant = '{tenant}'\nrole = 'operator'"),
            "tenant",
        ),
        ("san = 'a'\nrole = 'viewer'".to_owned(), "tenant"),
        (
            format!("san = 'key_{ZEROS}'\ntenant = '{tenant}'\nrole = 'viewer'"),
            "is an id",
        ),
        (
            format!("san = 'USR_{ZEROS}'\ntenant = '{tenant}'\nrole = 'viewer'"),
            "is an id",
        ),
        (
            "san = 'a'\ntenant = 'acme'\nrole = 'viewer'".to_owned(),
            "tenant",
        ),
        (
            format!(
                "san = 'a'\ntenant = '{tenant}'\nrole = 'viewer'\n[[identities]]\n\
                 san = 'A'\ntenant = '{tenant}'\nrole = 'admin'"
            ),
            "twice",
        ),
    ] {
        let problems = read(&format!("[[identities]]\n{toml}\n")).expect_err(&toml);
        assert!(problems.contains(said), "{said} is missing in {problems}");
    }
}

#[test]
fn what_is_no_certificate_is_none() {
    for der in [&b""[..], b"nonsense", &[0x30, 0x82, 0xff, 0xff], &[0; 100]] {
        assert!(PeerCertificate::read(der).is_none());
    }
}
