//! The journey of an agent in a real browser, and what supervisors and administrators see of it.

use anyhow::Context as _;
use fantoccini::{Locator, key::Key};
use postroom_app::world::{Ground, Plan, World};
use secrecy::SecretString;

use crate::{
    chromium::{Browser, PASSWORD, Served},
    laws::{deliver, mail},
    take_in::connected,
};

const SUPPORT: &str = "support@contoso.example";
/// What the customer received, once there are so many.
async fn received(world: &World, customer: &str, count: usize) -> anyhow::Result<postroom_mail::Mail> {
    world
        .until("the customer has the answer", || async {
            Ok(world.simulator.outside(customer).len() >= count)
        })
        .await?;
    Ok(postroom_mail::parse(&world.simulator.outside(customer)[count - 1]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_answers_a_mail_and_the_customer_answers_back() -> anyhow::Result<()> {
    let world = World::start(Plan::sample(Ground::Sqlite)).await?;
    connected(&world).await?;
    for who in ["agent1", "supervisor", "admin"] {
        let email = format!("{who}@contoso.example");
        world.engine().set_password(&email, SecretString::from(PASSWORD)).await?;
    }
    let served = Served::start(&world).await?;
    let base = served.base.clone();
    let browser = Browser::start().await?;

    browser.sign_in(&base, "agent1@contoso.example").await?;
    browser.look(&base, "desk-empty").await?;
    browser.click("#go-on").await?;
    browser.wait_text("#status-word", "On queue").await?;

    // The alert comes by itself.
    let hostile = "From: \"Ann\" <ann@customer.example>\r\nTo: support@contoso.example\r\n\
        Message-ID: <1@customer.example>\r\nSubject: =?utf-8?B?44OX44Oq44Oz44K/44O8IFByaW50ZXI=?=\r\n\
        MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
        <p>Good <b>morning</b> お世話になっております。</p><script>parent.document.title='owned'</script>\
        <img src=\"http://tracker.example/x.gif\"><img src=x onerror=\"parent.document.title='owned'\">";
    deliver(&world, SUPPORT, hostile);
    browser.wait("button.accept").await?;
    browser.look(&base, "desk-alert").await?;
    browser.click("button.accept").await?;
    browser.wait("iframe.body").await?;
    let frame = browser.wait("iframe.body").await?;
    frame.enter_frame().await?;
    browser.wait_text("body", "Good morning").await?;
    browser.client.enter_parent_frame().await?;
    browser.wait_text(".blocked", "2").await?;
    let title = browser.client.title().await?;
    assert!(!title.contains("owned"), "{title}");

    let text = "Dear Ann,\n\nplease switch it off and on.\n\nよろしくお願いいたします。";
    browser.wait("#reply-text").await?.send_keys(text).await?;
    browser.look(&base, "conversation").await?;
    browser.wait("#reply-text").await?.send_keys(&format!("{}{}", Key::Control, Key::Enter)).await?;
    browser.wait(".send-state.sent").await?;
    let answer = received(&world, "ann@customer.example", 1).await?;
    assert_eq!(answer.from.as_ref().map(|from| from.address.as_str()), Some(SUPPORT));
    assert!(
        answer.text.contains("switch it off and on") && answer.text.contains("よろしく"),
        "{}",
        answer.text
    );
    assert_eq!(browser.wait("#reply-text").await?.prop("value").await?.as_deref(), Some(""));

    // The customer's answer comes into the conversation that is open, by itself.
    let thanks = format!(
        "Message-ID: <2@customer.example>\r\nIn-Reply-To: <{}>\r\n",
        answer.message_id.as_deref().context("our answer has a Message-ID")?
    );
    deliver(&world, SUPPORT, mail("Ann <ann@customer.example>", SUPPORT, "Re: Printer", &thanks));
    browser.wait("li.mail ~ li.reply ~ li.mail").await?;
    browser.look(&base, "conversation-answered").await?;
    browser.click("#wrap-up button[value=Solved]").await?;
    browser.wait(".done").await?;
    deliver(&world, SUPPORT, mail("Ben <ben@customer.example>", SUPPORT, "Where is my order?", ""));
    browser.wait("button.accept").await?;
    browser.click("button.decline").await?;
    browser.wait_text("#status-word", "Not responding").await?;
    // What waits already is offered while the panel still fetches the new status: it is shown all the same.
    for _ in 0..5 {
        browser.click("#go-on").await?;
        browser.wait("button.accept").await?;
        browser.click("button.decline").await?;
        browser.wait_text("#status-word", "Not responding").await?;
    }
    browser.sign_out().await?;

    browser.sign_in(&base, "supervisor@contoso.example").await?;
    browser.wait("#queues a").await?;
    browser.look(&base, "queues").await?;
    browser.client.find(Locator::LinkText("Support")).await?.click().await?;
    browser.wait_text(".table .soft", "Nobody").await?;
    browser.look(&base, "queue").await?;
    browser.sign_out().await?;

    browser.sign_in(&base, "admin@contoso.example").await?;
    browser.wait_text("#mailboxes .state-word", "Healthy").await?;
    browser.look(&base, "mailboxes").await?;
    browser.client.goto(&format!("{base}/ledger")).await?;
    browser.wait("#ledger a").await?;
    browser.look(&base, "ledger").await?;
    browser.client.goto(&format!("{base}/trace?id=%3C1%40customer.example%3E")).await?;
    browser.wait_text(".way", "Wrapped up").await?;
    browser.look(&base, "trace").await?;
    browser.sign_out().await?;
    let said = browser.console().await?;
    assert!(said.is_empty(), "the console says {said:?}");
    browser.client.clone().close().await?;
    drop(browser);
    served.stop().await;
    world.assert_quiet().await
}
