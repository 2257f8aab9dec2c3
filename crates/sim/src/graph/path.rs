//! What a Graph URL addresses.
//!
//! The one list of paths. It takes all spellings the real service takes: both
//! key forms (`mailFolders/inbox`, `mailFolders('inbox')`), functions with and
//! without `()`, percent-encoding, doubled slashes, any case of fixed words.

use http::Method;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Batch,
    Subscriptions,
    Subscription(String),
    Reauthorize(String),
    /// The users of the tenant.
    Users,
    /// Something of a user, whose name is as the caller wrote it.
    User(String, UserResource),
    /// `/me`, which an application does not have.
    Me,
    /// Nothing; holds the first segment that leads nowhere.
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UserResource {
    Profile,
    Settings,
    SendMail,
    /// Folders below another, or of the first level.
    Folders(Option<String>),
    FolderCount(Option<String>),
    FolderDelta,
    Folder(String),
    FolderAction(String, FolderAction),
    /// Messages of a folder or of the whole mailbox.
    Messages(Option<String>),
    Count(Option<String>),
    Delta(Option<String>),
    Message(String),
    Value(String),
    Attachments(String),
    AttachmentCount(String),
    Attachment(String, String),
    AttachmentValue(String, String),
    Action(String, Action),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FolderAction {
    Copy,
    Move,
    PermanentDelete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Copy,
    Move,
    PermanentDelete,
    CreateReply,
    CreateReplyAll,
    CreateForward,
    Reply,
    ReplyAll,
    Forward,
    Send,
}

impl Resource {
    /// Reads the path of a URL.
    pub(crate) fn parse(path: &str) -> Self {
        let names = segments(path);
        let words: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let unknown = |at: usize| Self::Unknown(names.get(at).cloned().unwrap_or_default());
        match words.as_slice() {
            ["v1.0", "$batch"] => Self::Batch,
            ["v1.0", "users"] => Self::Users,
            ["v1.0", "subscriptions"] => Self::Subscriptions,
            ["v1.0", "subscriptions", _] => Self::Subscription(names[2].clone()),
            ["v1.0", "subscriptions", _, "reauthorize"] => Self::Reauthorize(names[2].clone()),
            ["v1.0", "me", ..] => Self::Me,
            ["v1.0", "users", _, rest @ ..] => match of_user(rest, &names[3..]) {
                Some(resource) => Self::User(names[2].clone(), resource),
                None => unknown(names.len() - 1),
            },
            ["v1.0", ..] => unknown(1),
            _ => unknown(0),
        }
    }

    /// The name of such a request in the figures.
    pub(crate) fn kind(&self, method: &Method) -> &'static str {
        use UserResource as U;
        let of = |kinds: [&'static str; 4]| match *method {
            Method::GET => kinds[0],
            Method::POST => kinds[1],
            Method::PATCH => kinds[2],
            Method::DELETE => kinds[3],
            _ => "other",
        };
        match self {
            Self::Batch => "batch",
            Self::Users => "user.list",
            Self::Subscriptions => of(["subscription.list", "subscription.create", "other", "other"]),
            Self::Subscription(_) => {
                of(["subscription.get", "other", "subscription.renew", "subscription.delete"])
            }
            Self::Reauthorize(_) => "subscription.reauthorize",
            Self::Me | Self::Unknown(_) => "other",
            Self::User(_, resource) => match resource {
                U::Profile => "user.get",
                U::SendMail => "message.send_mail",
                U::Settings => "user.settings",
                U::Folders(_) => of(["folder.list", "folder.create", "other", "other"]),
                U::FolderCount(_) => "folder.count",
                U::FolderDelta => "folder.delta",
                U::Folder(_) => of(["folder.get", "other", "folder.patch", "folder.delete"]),
                U::FolderAction(_, FolderAction::Copy) => "folder.copy",
                U::FolderAction(_, FolderAction::Move) => "folder.move",
                U::FolderAction(_, FolderAction::PermanentDelete) => "folder.permanent_delete",
                U::Messages(_) => of(["message.list", "message.create", "other", "other"]),
                U::Count(_) => "message.count",
                U::Delta(_) => "delta",
                U::Message(_) => of(["message.get", "other", "message.patch", "message.delete"]),
                U::Value(_) => "message.value",
                U::Attachments(_) => of(["attachment.list", "attachment.create", "other", "other"]),
                U::AttachmentCount(_) => "attachment.count",
                U::Attachment(..) => of(["attachment.get", "other", "other", "attachment.delete"]),
                U::AttachmentValue(..) => "attachment.value",
                U::Action(_, Action::Move) => "message.move",
                U::Action(_, Action::Copy) => "message.copy",
                U::Action(_, Action::PermanentDelete) => "message.permanent_delete",
                U::Action(_, Action::CreateForward) => "message.create_forward",
                U::Action(_, Action::Reply) => "message.reply",
                U::Action(_, Action::ReplyAll) => "message.reply_all",
                U::Action(_, Action::Forward) => "message.forward",
                U::Action(_, Action::CreateReply) => "message.create_reply",
                U::Action(_, Action::CreateReplyAll) => "message.create_reply_all",
                U::Action(_, Action::Send) => "message.send",
            },
        }
    }
}

fn of_user(words: &[&str], names: &[String]) -> Option<UserResource> {
    Some(match words {
        [] => UserResource::Profile,
        ["mailboxsettings"] => UserResource::Settings,
        ["sendmail"] => UserResource::SendMail,
        ["mailfolders", rest @ ..] => return of_folders(None, rest, &names[1..]),
        ["messages", rest @ ..] => return of_messages(None, rest, &names[1..]),
        _ => return None,
    })
}

/// Folders below `parent`; deeper ones are found by their own ids alone.
fn of_folders(parent: Option<String>, words: &[&str], names: &[String]) -> Option<UserResource> {
    let folder = || names[0].clone();
    Some(match words {
        [] => UserResource::Folders(parent),
        ["$count"] => UserResource::FolderCount(parent),
        ["delta"] if parent.is_none() => UserResource::FolderDelta,
        [_] => UserResource::Folder(folder()),
        [_, "childfolders", rest @ ..] => return of_folders(Some(folder()), rest, &names[2..]),
        [_, "messages", rest @ ..] => return of_messages(Some(folder()), rest, &names[2..]),
        [_, "copy"] => UserResource::FolderAction(folder(), FolderAction::Copy),
        [_, "move"] => UserResource::FolderAction(folder(), FolderAction::Move),
        [_, "permanentdelete"] => UserResource::FolderAction(folder(), FolderAction::PermanentDelete),
        _ => return None,
    })
}

fn of_messages(folder: Option<String>, words: &[&str], names: &[String]) -> Option<UserResource> {
    let name = |at: usize| names[at].clone();
    Some(match words {
        [] => UserResource::Messages(folder),
        ["$count"] => UserResource::Count(folder),
        ["delta"] => UserResource::Delta(folder),
        [_] => UserResource::Message(name(0)),
        [_, "$value"] => UserResource::Value(name(0)),
        [_, "attachments"] => UserResource::Attachments(name(0)),
        [_, "attachments", "$count"] => UserResource::AttachmentCount(name(0)),
        [_, "attachments", _] => UserResource::Attachment(name(0), name(2)),
        [_, "attachments", _, "$value"] => UserResource::AttachmentValue(name(0), name(2)),
        [_, action] => UserResource::Action(name(0), find_action(action)?),
        _ => return None,
    })
}

fn find_action(word: &str) -> Option<Action> {
    Some(match word {
        "copy" => Action::Copy,
        "move" => Action::Move,
        "permanentdelete" => Action::PermanentDelete,
        "createreply" => Action::CreateReply,
        "createreplyall" => Action::CreateReplyAll,
        "createforward" => Action::CreateForward,
        "reply" => Action::Reply,
        "replyall" => Action::ReplyAll,
        "forward" => Action::Forward,
        "send" => Action::Send,
        _ => return None,
    })
}

/// Segments without encoding; a key in parentheses becomes a segment of its own.
fn segments(path: &str) -> Vec<String> {
    let mut segments = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let segment = decoded(segment);
        let segment = segment.strip_prefix("microsoft.graph.").unwrap_or(&segment);
        match segment.split_once('(').and_then(|(name, key)| Some((name, key.strip_suffix(')')?))) {
            Some((name, key)) => {
                segments.push(name.to_owned());
                let quoted = key.strip_prefix('\'').and_then(|key| key.strip_suffix('\''));
                if !key.is_empty() {
                    segments.push(quoted.map_or_else(|| key.to_owned(), |key| key.replace("''", "'")));
                }
            }
            None => segments.push(segment.to_owned()),
        }
    }
    segments
}

/// Undoes percent-encoding; what is not valid stays.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octet =
            after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match octet {
            Some(octet) if *first == b'%' => {
                bytes.push(octet);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_spellings_lead_to_the_same_place() {
        let expected = Resource::User("a@x.example".into(), UserResource::Delta(Some("inbox".into())));
        for path in [
            "/v1.0/users/a@x.example/mailFolders/inbox/messages/delta",
            "/v1.0/users/a%40x.example/mailFolders('inbox')/messages/delta()",
            "/v1.0//users('a%40x.example')/MailFolders('inbox')/messages/microsoft.graph.delta()",
        ] {
            assert_eq!(Resource::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn ids_keep_their_letters() {
        let path = "/v1.0/users/a@x.example/mailFolders/inbox/messages/AAk-_%3D/createReply";
        let action = UserResource::Action("AAk-_=".into(), Action::CreateReply);
        assert_eq!(Resource::parse(path), Resource::User("a@x.example".into(), action));
        let child = "/v1.0/users/a@x.example/mailFolders/inbox/childFolders/AQMk/messages";
        let messages = UserResource::Messages(Some("AQMk".into()));
        assert_eq!(Resource::parse(child), Resource::User("a@x.example".into(), messages));
        assert_eq!(Resource::parse("/v1.0/nope"), Resource::Unknown("nope".into()));
    }

    proptest! {
        #[test]
        fn any_path_is_answered(path in any::<String>()) {
            Resource::parse(&path);
            Resource::parse(&format!("/v1.0/users/{path}"));
        }
    }
}
