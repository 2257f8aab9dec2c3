//! The pages from a client's side, without a browser: who may see what, what every
//! answer carries, and that no text is missing in either language.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use postroom_app::world::{Ground, Plan, World, call};
use postroom_model::ledger::{MessageState, Reason};
use postroom_model::outbox::SendState;
use postroom_model::user::RoutingStatus;
use postroom_model::{ConversationId, MessageId, OutgoingId};
use postroom_store::messages::{SeenMessage, insert_seen, record_state};
use postroom_store::outgoing::{self, Outgoing};
use postroom_store::{Unit, conversations, queues, users};
use secrecy::{ExposeSecret as _, SecretString};

use crate::laws::{deliver, ledger, mail};
use crate::take_in::connected;

const SUPPORT: &str = "support@contoso.example";
const PASSWORD: &str = "a good long password";
/// Nobody, and one person for each role.
const WHO: [&str; 4] = ["", "agent1", "supervisor", "admin"];

/// A world with a mail that the agent has, and the paths that show it.
struct Pages {
    world: World,
    cookies: Vec<String>,
    conversation: String,
    message: String,
    queue: String,
}

impl Pages {
    async fn open() -> anyhow::Result<Self> {
        let world = World::start(Plan::sample(Ground::Virtual)).await?;
        connected(&world).await?;
        let hostile = "From: <b>Ann</b> <ann@customer.example>\r\nTo: support@contoso.example\r\n\
            Subject: <script>alert(1)</script>\r\nMessage-ID: <1@customer.example>\r\n\
            Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n\
            <p onclick=\"alert(1)\">Hi<script>alert(1)</script></p><img src=\"https://elsewhere.example/p.gif\">\r\n\
            --b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=\"a.html\"\r\n\r\n\
            <script>alert(1)</script>\r\n--b--\r\n";
        deliver(&world, SUPPORT, hostile);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        world.settle().await?;
        let row = ledger(world.db()).await?.remove(0);
        let id = row.conversation.expect("it is in a conversation");
        let agent = users::find_by_email(world.db(), "agent1@contoso.example").await?.expect("the agent");
        world.engine().set_routing_status(&agent, RoutingStatus::OnQueue).await?;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        world.engine().accept(&agent, id).await?;
        let mut cookies = Vec::new();
        for who in WHO {
            let email = format!("{who}@contoso.example");
            if who.is_empty() {
                cookies.push(String::new());
                continue;
            }
            let password = SecretString::from(PASSWORD);
            world.engine().set_password(&email, password.clone()).await?;
            let session = world.engine().sign_in(&email, &password).await?;
            cookies.push(format!("postroom={}", session.token.expose_secret()));
        }
        let queue = conversations::find(world.db(), id).await?.expect("it is there").queue;
        assert!(queues::find(world.db(), queue).await?.is_some());
        Ok(Self {
            world,
            cookies,
            conversation: id.to_string(),
            message: row.id.to_string(),
            queue: queue.to_string(),
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Response<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(Bytes::new())?;
        Ok(call(self.world.router(), request).await?)
    }

    fn path(&self, pattern: &str) -> String {
        pattern.replace("{c}", &self.conversation).replace("{m}", &self.message).replace("{q}", &self.queue)
    }
}

/// Pages, and whether nobody, an agent, a supervisor and an administrator get them.
const PAGES: [(&str, [u16; 4]); 18] = [
    ("/login", [200, 303, 303, 303]),
    ("/desk", [303, 200, 200, 403]),
    ("/desk/panel", [303, 200, 200, 403]),
    ("/desk/conversations/{c}", [303, 200, 200, 200]),
    ("/desk/conversations/{c}/news", [303, 200, 200, 200]),
    ("/mails/{m}/body", [303, 200, 200, 200]),
    ("/mails/{m}/attachments/0", [303, 200, 200, 200]),
    ("/queues", [303, 403, 200, 403]),
    ("/queues/table", [303, 403, 200, 403]),
    ("/queues/{q}", [303, 403, 200, 403]),
    ("/queues/{q}/state", [303, 403, 200, 403]),
    ("/mailboxes", [303, 403, 403, 200]),
    ("/mailboxes/table", [303, 403, 403, 200]),
    ("/integrations", [303, 403, 403, 200]),
    ("/ledger", [303, 403, 403, 200]),
    ("/trace", [303, 403, 403, 200]),
    ("/trace/{m}", [303, 403, 403, 200]),
    ("/nowhere", [404, 404, 404, 404]),
];

#[tokio::test(start_paused = true)]
async fn each_role_gets_its_pages_in_both_languages_and_no_others() -> anyhow::Result<()> {
    let pages = Pages::open().await?;
    for (pattern, expected) in PAGES {
        for (who, (cookie, expected)) in WHO.iter().zip(pages.cookies.iter().zip(expected)) {
            for language in ["en", "ja"] {
                let headers = [("cookie", cookie.as_str()), ("accept-language", language)];
                let answer = pages.ask(Method::GET, &pages.path(pattern), &headers).await?;
                assert_eq!(answer.status(), expected, "{pattern} for {who:?}");
                if pattern.contains("attachments") {
                    // Given as it is, to be saved.
                    continue;
                }
                let text = String::from_utf8_lossy(answer.body()).into_owned();
                assert!(!text.contains("<script>alert"), "{pattern}: a mail's script stands in a page");
                assert!(!text.contains("elsewhere.example"), "{pattern}: a page would ask elsewhere");
                assert!(!text.contains("onclick"), "{pattern}: a mail's handler stands in a page");
                // A text that is missing shows its key, one without its variable a brace.
                let visible: String = text.split('>').filter_map(|part| part.split('<').next()).collect();
                for key in [
                    "nav-", "failure-", "status-", "step-", "reason-", "column-", "message-", "check-",
                    "doctor-", "cause-", "verdict-", "{$", "{ $",
                ] {
                    assert!(!visible.contains(key), "{pattern} in {language}: {key} is shown");
                }
            }
        }
    }
    pages.world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn every_answer_says_what_a_browser_may_do_with_it() -> anyhow::Result<()> {
    let pages = Pages::open().await?;
    for (pattern, _) in PAGES {
        for cookie in &pages.cookies {
            let answer = pages.ask(Method::GET, &pages.path(pattern), &[("cookie", cookie)]).await?;
            let header =
                |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let policy = header("content-security-policy");
            assert!(policy.contains("default-src 'none'"), "{pattern}: {policy}");
            assert!(
                !policy.contains("script-src 'unsafe") && !policy.contains("unsafe-eval"),
                "{pattern}: {policy}"
            );
            assert_eq!(header("x-content-type-options"), "nosniff", "{pattern}");
            assert!(header("cache-control").contains("no-store"), "{pattern}: {}", header("cache-control"));
            assert!(!header("x-request-id").is_empty(), "{pattern}");
        }
    }
    let agent = &pages.cookies[1];
    let frame = pages.ask(Method::GET, &pages.path("/mails/{m}/body"), &[("cookie", agent)]).await?;
    let policy = frame.headers()["content-security-policy"].to_str()?;
    assert!(policy.contains("sandbox") && !policy.contains("allow-scripts"), "{policy}");
    let saved = pages.ask(Method::GET, &pages.path("/mails/{m}/attachments/0"), &[("cookie", agent)]).await?;
    assert!(saved.headers()["content-disposition"].to_str()?.starts_with("attachment"));
    pages.world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_form_of_another_site_changes_nothing() -> anyhow::Result<()> {
    let pages = Pages::open().await?;
    let agent = pages.cookies[1].as_str();
    for path in
        ["/desk/status", "/desk/conversations/{c}/wrap-up", "/desk/conversations/{c}/reply", "/logout"]
    {
        let foreign =
            [("cookie", agent), ("origin", "https://elsewhere.example"), ("sec-fetch-site", "cross-site")];
        let answer = pages.ask(Method::POST, &pages.path(path), &foreign).await?;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let desk = pages.ask(Method::GET, "/desk", &[("cookie", agent)]).await?;
    assert_eq!(desk.status(), StatusCode::OK, "the session stands");
    let other = deliver(&pages.world, SUPPORT, mail("ben@customer.example", SUPPORT, "Two", ""));
    assert!(!other.graph_id.is_empty());
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    pages.world.assert_quiet().await
}

/// How often something stands in a page.
fn times(page: &Response<Bytes>, what: &str) -> usize {
    String::from_utf8_lossy(page.body()).matches(what).count()
}

#[tokio::test(start_paused = true)]
async fn the_ledger_says_how_much_needs_attention_and_leads_to_all_of_it() -> anyhow::Result<()> {
    const HELD: u128 = 33;
    const UNSENT: u128 = 45;
    let pages = Pages::open().await?;
    let db = pages.world.db();
    let row = ledger(db).await?.remove(0);
    let conversation: ConversationId = pages.conversation.parse()?;
    let agent = users::find_by_email(db, "agent1@contoso.example").await?.expect("the agent");
    let mut unit = Unit::new();
    for n in 1..=HELD {
        let id = MessageId::from_uuid(uuid::Uuid::from_u128(n));
        let seen = SeenMessage {
            id,
            mailbox: row.mailbox,
            folder: row.folder.expect("its folder"),
            graph_id: format!("held-{n}"),
            reason: Reason::Notified,
            seen_at: pages.world.now(),
            received_at: None,
        };
        unit = unit.with(insert_seen(&seen)).with(record_state(
            id,
            MessageState::Seen,
            MessageState::Held,
            Reason::TooManyTries,
            None,
        ));
    }
    for n in 1..=UNSENT {
        let id = OutgoingId::from_uuid(uuid::Uuid::from_u128(n));
        let reply = Outgoing {
            id,
            conversation,
            reply_to: row.id,
            mailbox: row.mailbox,
            user: agent.id,
            state: SendState::Queued,
            reason: None,
            detail: None,
            marker: n.to_string(),
            draft_id: None,
            internet_message_id: None,
            sealed: Vec::new(),
            looks: 0,
            created_at: pages.world.now(),
            sent_at: None,
        };
        let end = if n % 2 == 0 { SendState::Failed } else { SendState::Uncertain };
        let detail = format!("reply number {n}.");
        unit = unit.with(outgoing::insert(&reply)).with(outgoing::record_end(
            id,
            SendState::Queued,
            end,
            Reason::OutcomeUnknown,
            &detail,
        ));
    }
    pages.world.engine().store().commit(unit).await?;

    let admin = pages.cookies[3].as_str();
    for (language, held, unsent) in [
        ("en", "Held mails: 33", "Replies that did not leave, or of which nobody knows: 45"),
        ("ja", "保留中のメール：33件", "送信できなかった、または送信結果が不明の返信：45件"),
    ] {
        let headers = [("cookie", admin), ("accept-language", language)];
        let mut path = "/ledger".to_owned();
        let mut found = 0;
        for range in ["1–20", "21–40", "41–45"] {
            let page = pages.ask(Method::GET, &path, &headers).await?;
            assert_eq!((times(&page, held), times(&page, unsent)), (1, 1), "{path} in {language}");
            assert_eq!(times(&page, range), 1, "{path} in {language}");
            found += times(&page, "reply number ");
            let text = String::from_utf8_lossy(page.body()).into_owned();
            // The last link to a page of replies leads to the older ones.
            let next =
                text.rsplit("<a href=\"/ledger?replies=").next().and_then(|rest| rest.split('#').next());
            path = format!("/ledger?replies={}", next.unwrap_or_default());
        }
        assert_eq!(found, UNSENT as usize);

        let page = pages.ask(Method::GET, "/ledger", &headers).await?;
        assert_eq!(times(&page, "href=\"/ledger?state=held#ledger\""), 1);
        let beyond = pages.ask(Method::GET, "/ledger?replies=1000", &headers).await?;
        assert_eq!(times(&beyond, "41–45"), 1, "beyond the last page stands the last one");
        let all_held = pages.ask(Method::GET, "/ledger?state=held", &headers).await?;
        assert_eq!(times(&all_held, "data-item"), HELD as usize);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_administrator_examines_an_integration_and_reads_each_finding() -> anyhow::Result<()> {
    let pages = Pages::open().await?;
    let all = postroom_store::integrations::list(pages.world.engine().store()).await?;
    let path = format!("/integrations/{}/examine", all[0].id);
    for (language, expected) in [("en", "Microsoft reaches us"), ("ja", "Microsoftからの到達")] {
        let headers = [("cookie", pages.cookies[3].as_str()), ("accept-language", language)];
        let answer = pages.ask(Method::POST, &path, &headers).await?;
        assert_eq!(answer.status(), 200);
        let text = String::from_utf8(answer.body().to_vec())?;
        assert!(text.contains(expected) && text.contains("New-ServicePrincipal"), "{text}");
        assert!(text.trim_end().ends_with("</html>") && !text.contains("class=\"no\""), "{text}");
        for key in ["check-", "doctor-", "cause-", "verdict-"] {
            assert!(!text.contains(key), "{key} is shown");
        }
    }
    for cookie in &pages.cookies[1..3] {
        let answer = pages.ask(Method::POST, &path, &[("cookie", cookie.as_str())]).await?;
        assert_eq!(answer.status(), 403);
    }
    pages.world.end().await
}
