//! Whether the application may do what it asks for.
//!
//! One table: which permission a request needs. The decision itself is the
//! directory's.

use super::Call;
use super::answer::Failure;
use super::path::{Action, Resource, UserResource};
use crate::directory::{Access, Permission, decide};
use crate::mailbox::MailboxStatus;
use crate::state::{Grant, State};
use http::Method;

/// Requests that name no mailbox.
pub(super) fn directory(call: &Call, grant: &Grant) -> Result<(), Failure> {
    let is_user_list = matches!(call.resource, Resource::Users);
    let may = decide(&grant.roles, &[], &[], "", Permission::ReadUsers) == Access::Granted;
    if is_user_list && !may { Err(Failure::no_directory_access()) } else { Ok(()) }
}

/// Requests to a mailbox: Exchange must have it, and the application leave.
pub(super) fn mailbox(state: &State, call: &Call, mailbox: usize, grant: &Grant) -> Result<(), Failure> {
    let Resource::User(_, resource) = &call.resource else { return Ok(()) };
    let needed = needed(&call.method, resource);
    if needed == Permission::ReadUsers {
        let may = decide(&grant.roles, &[], &[], "", needed) == Access::Granted;
        return if may { Ok(()) } else { Err(Failure::no_directory_access()) };
    }
    let status = state.mailboxes.get(mailbox).map(|owner| owner.status).unwrap_or_default();
    if status != MailboxStatus::Active {
        return Err(Failure::no_mailbox());
    }
    match state.decide(grant.client_id, &grant.roles, mailbox, needed) {
        Access::Granted => Ok(()),
        refused => Err(Failure::access(refused)),
    }
}

fn needed(method: &Method, resource: &UserResource) -> Permission {
    use UserResource as U;
    match resource {
        U::Profile => Permission::ReadUsers,
        U::Settings => Permission::ReadSettings,
        U::SendMail | U::Action(_, Action::Send | Action::Reply | Action::ReplyAll | Action::Forward) => {
            Permission::Send
        }
        U::Folders(_) | U::FolderCount(_) | U::FolderDelta | U::Folder(_) if *method == Method::GET => {
            Permission::ReadBasic
        }
        _ if *method == Method::GET => Permission::Read,
        _ => Permission::ReadWrite,
    }
}
