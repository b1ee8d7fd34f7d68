//! Which right each RPC needs: one table, complete by test.
//!
//! A path without a row is answered as not implemented before anything else sees it,
//! so that a service added without a row here is shut, not open.

use sidehook_core::principal::Right;

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anybody, without a credential.
    Open,
    /// Whoever has this right; with the path, for figures.
    Needs(Right, &'static str),
}

/// The rules: a path of the form `/package.Service/Method`, and the right that it needs.
const RIGHTS: &[(&str, Right)] = &[
    (
        "/sidehook.v1.WebhookService/CreateSubscription",
        Right::Manage,
    ),
    ("/sidehook.v1.WebhookService/GetSubscription", Right::Read),
    ("/sidehook.v1.WebhookService/ListSubscriptions", Right::Read),
    (
        "/sidehook.v1.WebhookService/UpdateSubscription",
        Right::Manage,
    ),
    (
        "/sidehook.v1.WebhookService/DeleteSubscription",
        Right::Manage,
    ),
    (
        "/sidehook.v1.WebhookService/PauseSubscription",
        Right::Manage,
    ),
    (
        "/sidehook.v1.WebhookService/ResumeSubscription",
        Right::Manage,
    ),
    (
        "/sidehook.v1.WebhookService/RotateSigningKey",
        Right::Manage,
    ),
    (
        "/sidehook.v1.WebhookService/TestSubscription",
        Right::Manage,
    ),
    ("/sidehook.v1.WebhookService/TestFilter", Right::Read),
    ("/sidehook.v1.WebhookService/ExplainEvent", Right::Read),
    ("/sidehook.v1.EventService/PublishEvent", Right::Publish),
    ("/sidehook.v1.EventService/PublishEvents", Right::Publish),
    ("/sidehook.v1.EventService/StreamEvents", Right::Publish),
    ("/sidehook.v1.EventService/GetEvent", Right::Read),
    ("/sidehook.v1.EventService/ListEvents", Right::Read),
    ("/sidehook.v1.DeliveryService/ListDeliveries", Right::Read),
    ("/sidehook.v1.DeliveryService/GetDelivery", Right::Read),
    ("/sidehook.v1.DeliveryService/RetryDelivery", Right::Manage),
    ("/sidehook.v1.DeliveryService/WatchDeliveries", Right::Read),
    (
        "/sidehook.v1.AgentAdminService/ListAgents",
        Right::ObserveAgents,
    ),
    (
        "/sidehook.v1.AgentAdminService/ListPools",
        Right::ObserveAgents,
    ),
    ("/sidehook.v1.AdminService/CreateTenant", Right::Operate),
    ("/sidehook.v1.AdminService/GetTenant", Right::Operate),
    ("/sidehook.v1.AdminService/UpdateTenant", Right::Operate),
    ("/sidehook.v1.AdminService/ListTenants", Right::Operate),
    ("/sidehook.v1.AdminService/CreateApiKey", Right::Operate),
    ("/sidehook.v1.AdminService/ListApiKeys", Right::Operate),
    ("/sidehook.v1.AdminService/RevokeApiKey", Right::Operate),
    ("/sidehook.v1.AdminService/CreateUser", Right::Operate),
    ("/sidehook.v1.AdminService/ListUsers", Right::Operate),
    ("/sidehook.v1.AdminService/UpdateUser", Right::Operate),
    ("/sidehook.v1.AdminService/DeleteUser", Right::Operate),
    ("/sidehook.agent.v1.AgentService/Connect", Right::Work),
];

/// Services that load balancers and tools ask before they have a credential. They tell
/// nothing about any tenant.
const OPEN: &[&str] = &[
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// The rule for a path; `None`: no such RPC.
#[must_use]
pub fn rule(path: &str) -> Option<Rule> {
    if OPEN.iter().any(|service| path.starts_with(service)) {
        return Some(Rule::Open);
    }
    RIGHTS
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(path, right)| Rule::Needs(*right, path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;

    #[test]
    fn every_rpc_has_exactly_one_rule_and_every_rule_an_rpc() {
        let files = prost_types::FileDescriptorSet::decode(sidehook_api::DESCRIPTORS)
            .expect("our own descriptors");
        let mut rpcs = BTreeSet::new();
        for file in &files.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let rules = RIGHTS.iter().filter(|(known, _)| *known == path).count();
                    assert_eq!(rules, 1, "{path}");
                    assert!(matches!(rule(&path), Some(Rule::Needs(..))), "{path}");
                    rpcs.insert(path);
                }
            }
        }
        assert_eq!(rpcs.len(), RIGHTS.len());
    }

    #[test]
    fn what_is_not_in_the_table_is_shut() {
        assert_eq!(rule("/sidehook.v1.WebhookService/DropEverything"), None);
        assert_eq!(rule("/sidehook.v1.WebhookService/getsubscription"), None);
        assert_eq!(rule(""), None);
        assert_eq!(rule("/grpc.health.v1.Health/Check"), Some(Rule::Open));
        assert_eq!(rule("/grpc.health.v1.Healthy/Check"), None);
    }
}
