//! Who may do what with which mailbox: consent, access policies, RBAC, and mailboxes that are none.

use std::time::Duration;

use postroom_sim::{AccessRight, Assignment, MailboxChange, MailboxStatus, Policy};
use serde_json::{Value, json};

use crate::client::{CLIENT, SALES, SUPPORT, Told, World, living_world, user, world};

const RAOP: &str =
    "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.";
const DENIED: &str = "Access is denied. Check credentials and try again.";

/// Which of the application's permissions a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Basic,
    Read,
    Write,
    Send,
    Settings,
    Users,
    Subscribe,
}

/// One request of each kind. `{m}` stands for a message, `{d}` for a draft.
const REQUESTS: [(&str, &str, Need); 25] = [
    ("GET", "/v1.0/users", Need::Users),
    ("GET", "", Need::Users),
    ("GET", "/mailboxSettings", Need::Settings),
    ("GET", "/mailFolders", Need::Basic),
    ("GET", "/mailFolders/inbox", Need::Basic),
    ("GET", "/mailFolders/inbox/childFolders", Need::Basic),
    ("GET", "/mailFolders/delta", Need::Basic),
    ("POST", "/v1.0/subscriptions", Need::Subscribe),
    ("GET", "/messages", Need::Read),
    ("GET", "/mailFolders/inbox/messages", Need::Read),
    ("GET", "/mailFolders/inbox/messages/$count", Need::Read),
    ("GET", "/mailFolders/inbox/messages/delta", Need::Read),
    ("GET", "/messages/{m}", Need::Read),
    ("GET", "/messages/{m}/$value", Need::Read),
    ("GET", "/messages/{m}/attachments", Need::Read),
    ("PATCH", "/messages/{m}", Need::Write),
    ("POST", "/messages", Need::Write),
    ("POST", "/mailFolders", Need::Write),
    ("POST", "/messages/{m}/createReply", Need::Write),
    ("POST", "/messages/{m}/move", Need::Write),
    ("POST", "/messages/{m}/copy", Need::Write),
    ("POST", "/messages/{d}/send", Need::Send),
    ("POST", "/messages/{m}/reply", Need::Send),
    ("POST", "/sendMail", Need::Send),
    ("DELETE", "/messages/{m}", Need::Write),
];

fn allows(role: &str, need: Need) -> bool {
    use Need::{Basic, Read, Send, Settings, Subscribe, Users, Write};
    match role {
        "Mail.ReadBasic.All" => matches!(need, Basic | Subscribe),
        "Mail.Read" => matches!(need, Basic | Subscribe | Read),
        "Mail.ReadWrite" => matches!(need, Basic | Subscribe | Read | Write),
        "Mail.Send" => need == Send,
        "MailboxSettings.Read" => need == Settings,
        "User.Read.All" | "User.ReadBasic.All" => need == Users,
        _ => false,
    }
}

async fn grant(world: &mut World, roles: &[&str]) {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    world.simulator.set_roles(CLIENT, &roles).unwrap();
    world.token = world.new_token().await;
}

/// Sends one of the requests to a mailbox.
async fn ask(world: &World, mailbox: &str, method: &str, path: &str, message: &str, draft: &str) -> Told {
    if path.ends_with("/subscriptions") {
        return world.ask_subscription(mailbox, json!({})).await;
    }
    let path = path.replace("{m}", message).replace("{d}", draft);
    let path = if path.starts_with("/v1.0") { path } else { format!("{}{path}", user(mailbox)) };
    let words = json!({ "subject": "s", "body": { "contentType": "text", "content": "t" } });
    let content = match path.rsplit('/').next().unwrap() {
        "sendMail" => json!({ "message": words }),
        "move" | "copy" => json!({ "destinationId": "archive" }),
        "mailFolders" => json!({ "displayName": "f" }),
        "createReply" | "reply" | "send" => json!({}),
        _ => words,
    };
    world.ask(method, &path, (method != "GET" && method != "DELETE").then_some(content)).await
}

/// A draft that is there whoever may write it.
async fn draft(world: &mut World) -> String {
    grant(world, &["Mail.ReadWrite"]).await;
    let to = json!([{ "emailAddress": { "address": "ann@customer.example" } }]);
    let path = format!("{}/messages", user(SUPPORT));
    world.ask("POST", &path, Some(json!({ "subject": "d", "toRecipients": to }))).await.text("id")
}

#[tokio::test(start_paused = true)]
async fn each_permission_allows_what_it_is_for_and_nothing_else() {
    let roles = [
        "Mail.ReadBasic.All",
        "Mail.Read",
        "Mail.ReadWrite",
        "Mail.Send",
        "MailboxSettings.Read",
        "User.ReadBasic.All",
        "User.Read.All",
        "none",
    ];
    for role in roles {
        let mut world = world().await;
        let (message, draft) = (world.deliver(SUPPORT, "m"), draft(&mut world).await);
        let granted: Vec<&str> = Some(role).filter(|role| *role != "none").into_iter().collect();
        grant(&mut world, &granted).await;
        for (method, path, need) in REQUESTS {
            let told = ask(&world, SUPPORT, method, path, &message, &draft).await;
            let case = format!("{role}: {method} {path}: {} {}", told.status, told.body);
            if allows(role, need) {
                assert!(told.status != 403 && told.status < 500, "{case}");
                continue;
            }
            assert_eq!(told.status, 403, "{case}");
            match need {
                Need::Users => assert_eq!(told.code(), "Authorization_RequestDenied", "{case}"),
                Need::Subscribe => {
                    assert_eq!(told.code(), "ExtensionError", "{case}");
                    let start = "Operation: Create; Exception: [Status Code: Forbidden; Reason: ";
                    assert!(told.message().starts_with(start), "{case}");
                }
                _ => assert_eq!((told.code(), told.message()), ("ErrorAccessDenied", DENIED), "{case}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_changes_nothing() {
    let mut world = world().await;
    let id = world.deliver(SUPPORT, "m");
    grant(&mut world, &["Mail.Read"]).await;
    let path = format!("{}/messages/{id}", user(SUPPORT));
    assert_eq!(world.ask("PATCH", &path, Some(json!({ "isRead": true }))).await.status, 403);
    assert_eq!(world.ask("DELETE", &path, None).await.status, 403);
    let message = &world.simulator.messages(SUPPORT).unwrap()[0];
    assert!(!message.is_read && message.folder == "inbox");
}

fn policy(access_right: AccessRight, mailboxes: &[&str]) -> Policy {
    Policy { access_right, mailboxes: mailboxes.iter().map(|mailbox| (*mailbox).to_owned()).collect() }
}

/// Whether the messages of both mailboxes may be read, and with which words not.
async fn readable(world: &World) -> [Option<String>; 2] {
    let mut told = Vec::new();
    for mailbox in [SUPPORT, SALES] {
        let answer = world.get(&format!("{}/messages", user(mailbox))).await;
        let is_refused = answer.status == 403 && answer.code() == "ErrorAccessDenied";
        assert!(answer.status == 200 || is_refused, "{}", answer.body);
        told.push(is_refused.then(|| answer.message().to_owned()));
    }
    told.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_access_policy_acts_after_its_delay_and_blocks_by_name() {
    let world = world().await;
    let blocked = || Some(RAOP.to_owned());
    world.simulator.set_policies(CLIENT, vec![policy(AccessRight::RestrictAccess, &[SALES])]).unwrap();
    assert_eq!(readable(&world).await, [blocked(), None]);
    world.simulator.set_policies(CLIENT, vec![policy(AccessRight::DenyAccess, &[SALES])]).unwrap();
    assert_eq!(readable(&world).await, [None, blocked()]);
    let both = vec![
        policy(AccessRight::RestrictAccess, &[SUPPORT, SALES]),
        policy(AccessRight::DenyAccess, &[SUPPORT]),
    ];
    world.simulator.set_policies(CLIENT, both).unwrap();
    assert_eq!(readable(&world).await, [blocked(), None]);

    world.set("policy.propagation_ms", 1_800_000);
    world.simulator.set_policies(CLIENT, Vec::new()).unwrap();
    assert_eq!(readable(&world).await, [blocked(), None]);
    world.seconds(1_799).await;
    assert_eq!(readable(&world).await, [blocked(), None]);
    world.seconds(1).await;
    assert_eq!(readable(&world).await, [None, None], "the same token, half an hour later");
}

#[tokio::test(start_paused = true)]
async fn a_policy_blocks_new_subscriptions_and_silences_those_there_are() {
    let world = living_world().await;
    world.subscribe(SUPPORT).await;
    world.simulator.set_policies(CLIENT, vec![policy(AccessRight::DenyAccess, &[SUPPORT])]).unwrap();
    let told = world.ask_subscription(SUPPORT, json!({ "changeType": "updated" })).await;
    assert_eq!((told.status, told.code()), (403, "ExtensionError"));
    assert!(told.message().contains("[Status Code: Forbidden;"), "{}", told.body);
    world.deliver(SUPPORT, "unheard");
    world.seconds(5).await;
    assert!(world.endpoint.heard(SUPPORT).is_empty());
    world.simulator.set_policies(CLIENT, Vec::new()).unwrap();
    world.deliver(SUPPORT, "heard");
    world.seconds(5).await;
    assert_eq!(world.endpoint.heard(SUPPORT).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rbac_adds_without_any_role_in_the_token_and_no_policy_narrows_it() {
    let mut world = world().await;
    grant(&mut world, &[]).await;
    let denied = || Some(DENIED.to_owned());
    assert_eq!(readable(&world).await, [denied(), denied()]);
    world.set("policy.propagation_ms", 1_800_000);
    let assignment = |role: &str| Assignment { role: role.into(), mailboxes: vec![SUPPORT.into()] };
    world.simulator.set_assignments(CLIENT, vec![assignment("Application Mail.Read")]).unwrap();
    assert_eq!(readable(&world).await, [denied(), denied()], "thirty minutes to go");
    world.pass(Duration::from_secs(1_800)).await;
    assert_eq!(readable(&world).await, [None, denied()]);
    assert_eq!(world.ask_subscription(SUPPORT, json!({})).await.status, 201);
    assert_eq!(world.ask_subscription(SALES, json!({})).await.status, 403);

    world.set("policy.propagation_ms", 0);
    world.simulator.set_policies(CLIENT, vec![policy(AccessRight::DenyAccess, &[SUPPORT, SALES])]).unwrap();
    assert_eq!(readable(&world).await, [None, denied()], "a policy narrows consent only");
    let id = world.deliver(SUPPORT, "m");
    let path = format!("{}/messages/{id}", user(SUPPORT));
    let change = json!({ "isRead": true });
    assert_eq!(world.ask("PATCH", &path, Some(change.clone())).await.status, 403);
    world.simulator.set_assignments(CLIENT, vec![assignment("Application Mail Full Access")]).unwrap();
    assert_eq!(world.ask("PATCH", &path, Some(change)).await.status, 200);
    assert_eq!(
        world.get(&user(SUPPORT)).await.code(),
        "Authorization_RequestDenied",
        "no role for the directory"
    );
}

#[tokio::test(start_paused = true)]
async fn consent_and_rbac_add_up() {
    let mut world = world().await;
    grant(&mut world, &["Mail.Read"]).await;
    let assignment = Assignment { role: "Application Mail.ReadWrite".into(), mailboxes: vec![SALES.into()] };
    world.simulator.set_assignments(CLIENT, vec![assignment]).unwrap();
    assert_eq!(readable(&world).await, [None, None]);
    let content = json!({ "subject": "d" });
    let mut statuses = Vec::new();
    for mailbox in [SUPPORT, SALES] {
        let path = format!("{}/messages", user(mailbox));
        statuses.push(world.ask("POST", &path, Some(content.clone())).await.status);
    }
    assert_eq!(statuses, [403, 201]);
}

fn put(world: &World, status: MailboxStatus) {
    let change = MailboxChange { status: Some(status), ..MailboxChange::default() };
    world.simulator.change_mailbox(SUPPORT, change).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_exchange_online_does_not_have_is_refused_as_such() {
    let world = world().await;
    let id = world.deliver(SUPPORT, "m");
    let paths = [
        "/messages".to_owned(),
        "/mailFolders/inbox/messages/delta".into(),
        format!("/messages/{id}/$value"),
        "/mailboxSettings".into(),
    ];
    let gone = "The mailbox is either inactive, soft-deleted, or is hosted on-premise.";
    for status in [MailboxStatus::Unlicensed, MailboxStatus::OnPremises] {
        put(&world, status);
        for path in &paths {
            let told = world.get(&format!("{}{path}", user(SUPPORT))).await;
            let all = (told.status, told.code(), told.message());
            assert_eq!(all, (404, "MailboxNotEnabledForRESTAPI", gone), "{status:?} {path}");
        }
        let told = world.ask_subscription(SUPPORT, json!({})).await;
        assert_eq!((told.status, told.code()), (404, "ExtensionError"), "{}", told.body);
        assert_eq!(world.get(&user(SUPPORT)).await.status, 200, "the directory knows the user");
    }
    put(&world, MailboxStatus::Missing);
    let told = world.get(&format!("{}/messages", user(SUPPORT))).await;
    assert_eq!((told.status, told.code()), (404, "ErrorInvalidUser"));
    let told = world.get(&user(SUPPORT)).await;
    assert_eq!((told.status, told.code()), (404, "Request_ResourceNotFound"));
    let told = world.ask_subscription(SUPPORT, json!({})).await;
    assert_eq!((told.status, told.code()), (404, "ExtensionError"));
    assert!(world.simulator.deliver(SUPPORT, "Subject: x\r\n\r\n").is_err());
    assert_eq!(world.ok(&format!("{}/messages", user(SALES))).await["value"], json!([]));

    put(&world, MailboxStatus::Active);
    assert_eq!(world.get(&format!("{}/messages/{id}", user(SUPPORT))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn one_application_s_trouble_is_not_another_s() {
    let mut world = world().await;
    let other = world.simulator.add_application("Other").client_id.to_string();
    let secret = world.simulator.add_secret(&other, "s", None).unwrap().secret;
    let form = crate::client::with(crate::client::by_secret(&secret), "client_id", Some(&other));
    let token = world.ask_token(&form).await.text("access_token");
    world.simulator.set_policies(CLIENT, vec![policy(AccessRight::DenyAccess, &[SUPPORT])]).unwrap();
    assert_eq!(readable(&world).await[0].as_deref(), Some(RAOP));
    let id = world.subscribe(SALES).await;
    let own = std::mem::replace(&mut world.token, token);
    assert_eq!(readable(&world).await, [None, None]);
    let path = format!("/v1.0/subscriptions/{id}");
    assert_eq!(world.get(&path).await.status, 404, "somebody else's subscription");
    assert_eq!(world.ask("DELETE", &path, None).await.status, 404);
    assert_eq!(world.ok("/v1.0/subscriptions").await["value"], Value::Array(Vec::new()));
    world.token = own;
    assert_eq!(world.get(&path).await.status, 200);
}
