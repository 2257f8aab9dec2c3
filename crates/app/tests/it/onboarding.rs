//! Connecting a tenant by hand: from an empty store to the first mail in a queue, wrong pastes named on the
//! way; and what the pages refuse.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use fantoccini::Locator;
use http::{Request, Response, StatusCode, header};
use postroom_app::{
    organization,
    world::{Ground, Plan, World, call},
};
use postroom_model::{ledger::MessageState, mailbox::MailboxHealth, user::Role};
use postroom_store::{conversations, integrations, mailboxes, queues};
use secrecy::SecretString;

use crate::{
    chromium::{Browser, PASSWORD, Served},
    laws::{deliver, ledger, mail},
};

const ADMIN: &str = "admin@contoso.example";
const SUPPORT: &str = "support@contoso.example";
const TENANT: &str = "11111111-1111-1111-1111-111111111111";
const CLIENT: &str = "22222222-2222-2222-2222-222222222222";
const ENDPOINT: &str = "http://127.0.0.1:2/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token";
const SECRET: &str = "sample~secret-of-the-simulator";

/// A world whose store knows nobody but an administrator.
async fn empty(ground: Ground) -> anyhow::Result<World> {
    let world = World::start(Plan { organization: String::new(), ..Plan::sample(ground) }).await?;
    for role in [Role::Admin, Role::Agent] {
        world.engine().put_user(&ADMIN.parse()?, "Administrator", role).await?;
    }
    world.engine().set_password(ADMIN, SecretString::from(PASSWORD)).await?;
    Ok(world)
}

async fn fill(browser: &Browser, field: &str, text: &str) -> anyhow::Result<()> {
    let input = browser.wait(&format!("[name={field}]")).await?;
    input.clear().await?;
    Ok(input.send_keys(text).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_store_to_the_first_mail_in_a_queue() -> anyhow::Result<()> {
    let world = empty(Ground::Sqlite).await?;
    let served = Served::start(&world).await?;
    let base = served.base.clone();
    let browser = Browser::start().await?;
    browser.sign_in(&base, ADMIN).await?;
    browser.client.goto(&format!("{base}/integrations")).await?;
    browser.look(&base, "integrations-none").await?;
    browser.click("a[href='/integrations/new']").await?;
    browser.wait("[name=tenant]").await?;
    browser.look(&base, "connect").await?;

    // The endpoint of version 1, and the secret's id in place of its value.
    fill(&browser, "name", "Contoso").await?;
    fill(&browser, "tenant", TENANT).await?;
    fill(&browser, "endpoint", &ENDPOINT.replace("/v2.0", "")).await?;
    fill(&browser, "client_id", CLIENT).await?;
    fill(&browser, "secret", "33333333-3333-3333-3333-333333333333").await?;
    browser.click("form.fields button.primary").await?;
    browser.wait_text("#fault-endpoint", "version 1").await?;
    browser.wait_text("#fault-secret", "not its value").await?;
    let focused = browser.client.active_element().await?.attr("name").await?;
    ensure!(focused.as_deref() == Some("endpoint"), "the keyboard is at {focused:?}");
    browser.look_here(&base, "connect-faults").await?;
    ensure!(!browser.client.source().await?.contains("33333333"), "the secret comes back");

    // The object id of the application: only Microsoft can tell.
    fill(&browser, "endpoint", ENDPOINT).await?;
    fill(&browser, "client_id", "44444444-4444-4444-4444-444444444444").await?;
    fill(&browser, "secret", SECRET).await?;
    browser.click("form.fields button.primary").await?;
    browser.wait_text("#fault-client_id", "Object ID").await?;
    ensure!(integrations::list_overviews(world.db()).await?.is_empty(), "nothing is stored before it works");

    fill(&browser, "client_id", CLIENT).await?;
    fill(&browser, "secret", SECRET).await?;
    browser.click("form.fields button.primary").await?;
    browser.wait("[name=addresses]").await?;
    browser.look(&base, "join").await?;
    fill(&browser, "addresses", "support").await?;
    fill(&browser, "queue", "Support").await?;
    browser.click("form.fields button.primary").await?;
    browser.wait_text("#fault-addresses", "support").await?;
    fill(&browser, "addresses", SUPPORT).await?;
    browser.click("[name=member]").await?;
    browser.click("form.fields button.primary").await?;

    // Every line comes while it is asked; nothing is taken before the activation.
    browser.wait("#activate.primary").await?;
    browser.look_here(&base, "activate").await?;
    let no = browser.client.find_all(Locator::Css("tr.no")).await?;
    ensure!(no.is_empty(), "{} lines say no", no.len());
    let row = mailboxes::list(world.db()).await?.remove(0);
    ensure!(row.is_not_active_yet() && row.health != MailboxHealth::Healthy, "{row:?}");
    browser.click("#activate").await?;
    browser.wait("details pre").await?;
    browser.look_here(&base, "activated").await?;
    let no = browser.client.find_all(Locator::Css("tr.no")).await?;
    ensure!(no.is_empty(), "{} lines say no after the activation", no.len());
    let told = browser.client.find(Locator::Css("table")).await?.text().await?;
    ensure!(!told.contains("not active"), "the announcement was not tried: {told}");

    deliver(&world, SUPPORT, mail("Ann <ann@customer.example>", SUPPORT, "The first", ""));
    browser.client.goto(&format!("{base}/integrations")).await?;
    browser.look(&base, "integrations").await?;
    browser.client.goto(&format!("{base}/ledger")).await?;
    world
        .until("the first mail is in its queue", || async {
            Ok(ledger(world.db()).await?.iter().any(|row| row.state == MessageState::Routed))
        })
        .await?;
    let row = ledger(world.db()).await?.into_iter().find(|row| row.state == MessageState::Routed);
    let conversation = row.and_then(|row| row.conversation).context("it is in no conversation")?;
    let conversation = conversations::find(world.db(), conversation).await?.context("no conversation")?;
    let queue = queues::find(world.db(), conversation.queue).await?.context("no queue")?;
    ensure!(queue.name == "Support", "{}", queue.name);
    let said = browser.console().await?;
    // Chromium notes each answer with a status of an error.
    ensure!(said.iter().all(|line| line.contains("422")), "the console says {said:?}");
    browser.client.clone().close().await?;
    drop(browser);
    served.stop().await;
    world.assert_quiet().await
}

async fn post(world: &World, cookie: &str, path: &str, form: &str) -> anyhow::Result<Response<Bytes>> {
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, cookie)
        .header("sec-fetch-site", "same-origin")
        .body(Bytes::from(form.to_owned()))?;
    Ok(call(world.router(), request).await?)
}

async fn sign_in(world: &World, email: &str) -> anyhow::Result<String> {
    let form = format!("email={email}&password={}", PASSWORD.replace(' ', "+"));
    let answer = post(world, "", "/login", &form).await?;
    let cookie = answer.headers().get(header::SET_COOKIE).context("no session")?.to_str()?;
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

fn pasted(name: &str, client: &str, secret: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("name", name),
            ("cloud", "global"),
            ("tenant", ""),
            ("endpoint", ENDPOINT),
            ("client_id", client),
            ("secret", secret),
            ("expires", ""),
        ])
        .finish()
}

#[tokio::test(start_paused = true)]
async fn only_what_works_is_stored_and_no_secret_comes_back() -> anyhow::Result<()> {
    let world = empty(Ground::Virtual).await?;
    let cookie = sign_in(&world, ADMIN).await?;
    for (form, expected) in [
        (pasted("Contoso", CLIENT, "a~wrong-secret"), "client secret is wrong"),
        (pasted("", CLIENT, SECRET), "A name is needed"),
        (pasted("Contoso", CLIENT, ""), "There is no secret"),
        (pasted("Contoso", CLIENT, SECRET).replace("expires=", "expires=soon"), "This is no day"),
        (pasted("Contoso", CLIENT, SECRET).replace("127.0.0.1%3A2", "gateway.example"), "without TLS"),
        (
            pasted("Contoso", CLIENT, SECRET)
                .replace("http%3A%2F%2F127.0.0.1%3A2", "https%3A%2F%2Flogin.evil.example"),
            "the secret was not sent there",
        ),
    ] {
        let answer = post(&world, &cookie, "/integrations/new", &form).await?;
        let page = String::from_utf8_lossy(answer.body()).into_owned();
        ensure!(answer.status() == StatusCode::UNPROCESSABLE_ENTITY, "{}: {form}", answer.status());
        ensure!(page.contains(expected), "{expected:?} is not in {page}");
        ensure!(!page.contains(SECRET) && !page.contains("wrong-secret"), "a secret comes back");
    }
    ensure!(integrations::list_overviews(world.db()).await?.is_empty(), "something was stored");

    let answer = post(&world, &cookie, "/integrations/new", &pasted("Contoso", CLIENT, SECRET)).await?;
    ensure!(answer.status() == StatusCode::SEE_OTHER, "{}", answer.status());
    let there = answer.headers()[header::LOCATION].to_str()?.to_owned();
    let again = post(&world, &cookie, "/integrations/new", &pasted("Contoso", CLIENT, SECRET)).await?;
    ensure!(String::from_utf8_lossy(again.body()).contains("with this name already"), "it is taken");
    for (form, expected) in [
        ("addresses=&queue=Support&since=", "at least one mailbox"),
        ("addresses=a%40b.example&queue=&since=", "Name the queue"),
        ("addresses=a%40b.example&queue=Q&since=soon", "This is no day"),
        ("%ff=%ff&addresses", "at least one mailbox"),
    ] {
        let answer = post(&world, &cookie, &there, form).await?;
        ensure!(answer.status() == StatusCode::UNPROCESSABLE_ENTITY, "{}: {form}", answer.status());
        ensure!(String::from_utf8_lossy(answer.body()).contains(expected), "{expected}");
    }
    ensure!(mailboxes::list(world.db()).await?.is_empty(), "a mailbox was connected");

    let form = "addresses=support%40contoso.example%0Asales%40contoso.example&queue=First&member=admin%40contoso.example&since=2026-03-01";
    let answer = post(&world, &cookie, &there, form).await?;
    ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
    // What stands on the page is what the file would say.
    let declared = world.engine().declare("Contoso").await?;
    let whole = format!(
        "organization: {{ name: contoso.example, languages: [en] }}\n{declared}users:\n  - {{ email: {ADMIN}, name: Administrator, roles: [agent, admin] }}\n"
    );
    world.apply(&whole, organization::Options { dry_run: false, prune: true }).await?;
    ensure!(world.engine().declare("Contoso").await? == declared, "the file says something else");
    let overview = integrations::list_overviews(world.db()).await?.remove(0);
    ensure!(overview.credentials.len() == 1, "the credential stays: {:?}", overview.credentials);
    ensure!(
        mailboxes::list(world.db()).await?.iter().all(|one| one.is_not_active_yet()),
        "nobody activated them"
    );
    world.end().await
}

#[tokio::test(start_paused = true)]
async fn what_is_not_well_is_said_before_the_activation_and_heals_after_it() -> anyhow::Result<()> {
    let world = empty(Ground::Virtual).await?;
    let cookie = sign_in(&world, ADMIN).await?;
    let roles = world.simulator.application(CLIENT)?.roles;
    world.simulator.set_roles(CLIENT, &["Mail.Send".to_owned()])?;
    let answer = post(&world, &cookie, "/integrations/new", &pasted("Contoso", CLIENT, SECRET)).await?;
    let there = answer.headers()[header::LOCATION].to_str()?.to_owned();
    let form = "addresses=support%40contoso.example&queue=First&since=";
    let page = post(&world, &cookie, &there, form).await?;
    let page = String::from_utf8_lossy(page.body()).into_owned();
    ensure!(page.contains("Activate all the same") && page.contains("class=\"no\""), "{page}");
    world.simulator.set_roles(CLIENT, &roles)?;
    // As if the page had been loaded anew: what is connected already is looked at once more.
    let page = post(&world, &cookie, &there, form).await?;
    ensure!(String::from_utf8_lossy(page.body()).contains("Nothing is wrong"), "it is well now");
    let activate = there.replace("/mailboxes", "/activate");
    let begun = world.now();
    let page = post(&world, &cookie, &activate, "").await?;
    let took = world.now().duration_since(begun);
    ensure!(took.as_secs() < 10, "the second examination took {took:#}");
    ensure!(String::from_utf8_lossy(page.body()).contains("For the organisation file"), "it is active");
    deliver(&world, SUPPORT, mail("Ann <ann@customer.example>", SUPPORT, "The first", ""));
    world.settle().await?;
    ensure!(
        ledger(world.db()).await?.iter().any(|row| row.state == MessageState::Routed),
        "it was not taken"
    );
    ensure!(mailboxes::list(world.db()).await?[0].health == MailboxHealth::Healthy, "it is not healthy");
    world.assert_quiet().await
}

async fn get(world: &World, cookie: &str, path: &str) -> anyhow::Result<Response<Bytes>> {
    let request = Request::get(path).header(header::COOKIE, cookie).body(Bytes::new())?;
    Ok(call(world.router(), request).await?)
}

/// Signs in at Microsoft as its page has it, and gives the way back to our pages.
async fn at_microsoft(world: &World, url: &url::Url, answer: &str) -> anyhow::Result<String> {
    let graph = world.simulator.graph_router();
    let there = url.as_str().trim_start_matches("http://127.0.0.1:2");
    let page = call(graph.clone(), Request::get(there).body(Bytes::new())?).await?;
    ensure!(page.status() == StatusCode::OK, "{}", String::from_utf8_lossy(page.body()));
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(url.query_pairs()).append_pair("answer", answer);
    let request = Request::post(there)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(form.finish()))?;
    let back = call(graph, request).await?;
    let back = back.headers().get(header::LOCATION).context("no way back")?.to_str()?;
    Ok(back.trim_start_matches("http://127.0.0.1:1").to_owned())
}

#[tokio::test(start_paused = true)]
async fn an_administrator_who_signed_in_shows_the_delegated_permission_and_nothing_else_does()
-> anyhow::Result<()> {
    let world = empty(Ground::Virtual).await?;
    let cookie = sign_in(&world, ADMIN).await?;
    let answer = post(&world, &cookie, "/integrations/new", &pasted("Contoso", CLIENT, SECRET)).await?;
    let begin = answer.headers()[header::LOCATION].to_str()?.replace("/mailboxes", "/sign-in");
    let sent_away = async || -> anyhow::Result<url::Url> {
        let answer = get(&world, &cookie, &begin).await?;
        ensure!(answer.status() == StatusCode::SEE_OTHER, "{}", answer.status());
        Ok(answer.headers()[header::LOCATION].to_str()?.parse()?)
    };
    let says = async |path: &str, words: &str| -> anyhow::Result<()> {
        let page = get(&world, &cookie, path).await?;
        let page = String::from_utf8_lossy(page.body()).into_owned();
        ensure!(page.contains(words), "{words:?} is not in {page}");
        Ok(())
    };
    let user_read = async || -> anyhow::Result<String> {
        let examine = begin.replace("/sign-in", "/examine");
        let page = post(&world, &cookie, &examine, "").await?;
        let page = String::from_utf8_lossy(page.body()).into_owned();
        let row = page.split("Delegated User.Read</th>").nth(1).context("no line about it")?;
        Ok(row.split("</span>").next().unwrap_or_default().to_owned())
    };
    // What is not registered with the application is not answered.
    let url = sent_away().await?;
    let refused = at_microsoft(&world, &url, "consent").await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("AADSTS50011")), "it was registered");
    world.simulator.set_redirects(CLIENT, &["http://127.0.0.1:1/integrations/signed-in".to_owned()])?;

    let back = at_microsoft(&world, &sent_away().await?, "refuse").await?;
    says(&back, "User declined to consent").await?;
    says("/integrations/signed-in?state=made-up&code=made-up", "lately").await?;
    says("/integrations/signed-in", "lately").await?;
    ensure!(
        user_read().await?.contains("can't tell") || user_read().await?.contains("cant_tell"),
        "nobody signed in"
    );

    let back = at_microsoft(&world, &sent_away().await?, "consent").await?;
    // Another session can do nothing with it, and then it is spent.
    let other = sign_in(&world, ADMIN).await?;
    let page = get(&world, &other, &back).await?;
    ensure!(String::from_utf8_lossy(page.body()).contains("lately"), "another session took it");
    says(&back, "lately").await?;

    let back = at_microsoft(&world, &sent_away().await?, "consent").await?;
    says(&back, "has the delegated User.Read").await?;
    says(&back, "lately").await?;
    ensure!(user_read().await?.contains("state-word yes"), "{}", user_read().await?);
    world.end().await
}
