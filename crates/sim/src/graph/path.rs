//! What a Graph URL addresses.
//!
//! The one list of paths. It takes all spellings the real service takes: both
//! key forms (`mailFolders/inbox`, `mailFolders('inbox')`), functions with and
//! without `()`, percent-encoding, doubled slashes, any case of fixed words.

use http::Method;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Subscriptions,
    Subscription(String),
    Reauthorize(String),
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
    SendMail,
    Folders,
    Folder(String),
    /// Messages of a folder or of the whole mailbox.
    Messages(Option<String>),
    Count(Option<String>),
    Delta(Option<String>),
    Message(String),
    Value(String),
    Attachments(String),
    Attachment(String, String),
    AttachmentValue(String, String),
    Action(String, Action),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Move,
    CreateReply,
    CreateReplyAll,
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
            Self::Subscriptions => of(["subscription.list", "subscription.create", "other", "other"]),
            Self::Subscription(_) => {
                of(["subscription.get", "other", "subscription.renew", "subscription.delete"])
            }
            Self::Reauthorize(_) => "subscription.reauthorize",
            Self::Me | Self::Unknown(_) => "other",
            Self::User(_, resource) => match resource {
                U::Profile => "user.get",
                U::SendMail => "message.send_mail",
                U::Folders => "folder.list",
                U::Folder(_) => "folder.get",
                U::Messages(_) => of(["message.list", "message.create", "other", "other"]),
                U::Count(_) => "message.count",
                U::Delta(_) => "delta",
                U::Message(_) => of(["message.get", "other", "message.patch", "message.delete"]),
                U::Value(_) => "message.value",
                U::Attachments(_) => "attachment.list",
                U::Attachment(..) => "attachment.get",
                U::AttachmentValue(..) => "attachment.value",
                U::Action(_, Action::Move) => "message.move",
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
        ["sendmail"] => UserResource::SendMail,
        ["mailfolders"] => UserResource::Folders,
        ["mailfolders", _] => UserResource::Folder(names[1].clone()),
        ["mailfolders", _, "messages", rest @ ..] => {
            return of_messages(Some(names[1].clone()), rest, &names[3..]);
        }
        ["messages", rest @ ..] => return of_messages(None, rest, &names[1..]),
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
        [_, "attachments", _] => UserResource::Attachment(name(0), name(2)),
        [_, "attachments", _, "$value"] => UserResource::AttachmentValue(name(0), name(2)),
        [_, action] => UserResource::Action(name(0), find_action(action)?),
        _ => return None,
    })
}

fn find_action(word: &str) -> Option<Action> {
    Some(match word {
        "move" => Action::Move,
        "createreply" => Action::CreateReply,
        "createreplyall" => Action::CreateReplyAll,
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
