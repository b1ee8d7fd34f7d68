//! Who calls. It comes from the channel's credential, never from a message.
//!
//! Two questions are asked of a caller, and each is answered in one place:
//!
//! | question | answered by | asked by |
//! |---|---|---|
//! | may it call this RPC? | [`Principal::may`] | the guard before every service, with the right that its table gives the RPC |
//! | may it change this subscription? | [`Principal::may_change`] | whoever changes one, or delivers for it once more, with the owner |
//!
//! What belongs to whom is told by subjects: of a key that is a user's the user's id, so
//! that what somebody made with one key can be changed with all of theirs; of any other
//! key its own id; of tokens and certificates what they say.

use crate::{id::TenantId, pool::Pool};

/// What a credential entitles to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything in the tenant.
    Admin,
    /// To read all of the tenant, to create subscriptions, and to change their own.
    Member,
    /// To publish events.
    Publisher,
    /// To read.
    Viewer,
    /// To be an agent of one pool.
    Agent(Pool),
    /// To run the platform: tenants, keys, every tenant's agents.
    Operator,
}

impl Role {
    /// What is left of this role to a credential of a user who has the role `user`: a
    /// key never does more than its user may. `None`: nothing.
    #[must_use]
    pub fn within(self, user: &Self) -> Option<Self> {
        use Role::{Admin, Member, Viewer};
        match (self, user) {
            (role, Admin) => Some(role),
            (Admin, limit) => Some(limit.clone()),
            (role, limit) if role == *limit => Some(role),
            (Viewer, Member) | (Member, Viewer) => Some(Viewer),
            _ => None,
        }
    }
}

/// The caller of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant that the credential belongs to; [`TenantId::PLATFORM`] for
    /// operators and platform-wide agents.
    pub tenant: TenantId,
    /// Who it is, for records of who did what and of what is whose.
    pub subject: String,
    /// What it may do.
    pub role: Role,
}

/// What an operation needs. One table in the control plane gives every RPC one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read the tenant's things.
    Read,
    /// To create subscriptions, and to change those that [`Principal::may_change`]
    /// allows, and to repeat their deliveries.
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
            Role::Member => matches!(right, Read | Manage | ObserveAgents),
            Role::Publisher => matches!(right, Publish),
            Role::Viewer => matches!(right, Read | ObserveAgents),
            Role::Agent(_) => matches!(right, Work),
            Role::Operator => matches!(right, Operate | ObserveAgents),
        }
    }

    /// Whether the caller may change what belongs to the subject `owner`, in its own
    /// tenant, and see the secrets in it: an admin always, a member what is theirs, and
    /// nobody else. To give something away is to change it from one owner's to another's,
    /// and asks for both.
    #[must_use]
    pub fn may_change(&self, owner: &str) -> bool {
        match self.role {
            Role::Admin => true,
            Role::Member => self.subject == owner,
            Role::Publisher | Role::Viewer | Role::Agent(_) | Role::Operator => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_no_more_than_its_user() {
        use Role::{Admin, Member, Publisher, Viewer};
        let table = [
            (Admin, Admin, Some(Admin)),
            (Publisher, Admin, Some(Publisher)),
            (Admin, Member, Some(Member)),
            (Member, Member, Some(Member)),
            (Viewer, Member, Some(Viewer)),
            (Publisher, Member, None),
            (Admin, Viewer, Some(Viewer)),
            (Member, Viewer, Some(Viewer)),
            (Publisher, Viewer, None),
            (Admin, Publisher, Some(Publisher)),
            (Member, Publisher, None),
            (Viewer, Publisher, None),
        ];
        for (key, user, left) in table {
            let found = key.clone().within(&user);
            assert_eq!(found, left, "a key of {key:?} and a user of {user:?}");
        }
    }

    #[test]
    fn a_member_changes_what_is_theirs_and_an_admin_everything() {
        let who = |role| Principal {
            tenant: TenantId::from_bits(1),
            subject: "usr_a".to_owned(),
            role,
        };
        assert!(who(Role::Admin).may_change("usr_b"));
        assert!(who(Role::Member).may_change("usr_a"));
        assert!(!who(Role::Member).may_change("usr_b"));
        assert!(!who(Role::Member).may_change(""));
        for role in [Role::Publisher, Role::Viewer, Role::Operator] {
            assert!(!who(role).may_change("usr_a"));
        }
    }
}
