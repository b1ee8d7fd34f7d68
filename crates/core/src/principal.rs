//! Who calls. It comes from the channel's credential, never from a message.

use crate::{id::TenantId, pool::Pool};

/// What a credential entitles to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything in the tenant.
    Admin,
    /// To publish events.
    Publisher,
    /// To read.
    Viewer,
    /// To be an agent of one pool.
    Agent(Pool),
    /// To run the platform: tenants, keys, every tenant's agents.
    Operator,
}

/// The caller of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant that the credential belongs to; [`TenantId::PLATFORM`] for
    /// operators and platform-wide agents.
    pub tenant: TenantId,
    /// The credential's own id, for records of who did what.
    pub subject: String,
    /// What it may do.
    pub role: Role,
}

/// What an operation needs. One table in the control plane gives every RPC one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read the tenant's things.
    Read,
    /// To change subscriptions and repeat deliveries.
    Manage,
    /// To publish events.
    Publish,
    /// To observe agents: the tenant's own, or as an operator.
    ObserveAgents,
    /// To work as an agent.
    Work,
    /// To run the platform.
    Operate,
}

impl Principal {
    /// Whether the caller has `right`.
    #[must_use]
    pub fn may(&self, right: Right) -> bool {
        use Right::{Manage, ObserveAgents, Operate, Publish, Read, Work};
        match self.role {
            Role::Admin => matches!(right, Read | Manage | Publish | ObserveAgents),
            Role::Publisher => matches!(right, Publish),
            Role::Viewer => matches!(right, Read | ObserveAgents),
            Role::Agent(_) => matches!(right, Work),
            Role::Operator => matches!(right, Operate | ObserveAgents),
        }
    }
}
