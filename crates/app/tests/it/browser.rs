//! The journey of an agent in a real browser: Chromium, driven through its WebDriver.
//!
//! With `POSTROOM_SCREENSHOTS` naming a folder, each screen is also kept as a picture,
//! at 1440 and 390 pixels, in English and Japanese.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use fantoccini::{Client, ClientBuilder, Locator, key::Key};
use hyper_util::client::legacy::connect::HttpConnector;
use postroom_app::{
    effects, server,
    world::{Ground, Plan, World},
};
use postroom_engine::{Cpu, Tasks};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::laws::{deliver, mail};
use crate::take_in::connected;

const SUPPORT: &str = "support@contoso.example";
const PASSWORD: &str = "a good long password";
/// How long an element may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// A driver with its browser; both end with it.
struct Browser {
    client: Client,
    driver: Child,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ended = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

impl Browser {
    async fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver (Debian package chromium-driver) can't be started")?;
        let profile = TempDir::new()?;
        let capabilities = json!({
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--lang=en-US", format!("--user-data-dir={}", profile.path().display()),
            ] },
        });
        let capabilities: serde_json::Map<String, Value> = serde_json::from_value(capabilities)?;
        let url = format!("http://127.0.0.1:{port}");
        for _ in 0..100 {
            match ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities.clone())
                .connect(&url)
                .await
            {
                Ok(client) => return Ok(Self { client, driver, _profile: profile }),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        anyhow::bail!("chromedriver did not answer")
    }

    async fn wait(&self, css: &str) -> anyhow::Result<fantoccini::elements::Element> {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        match found {
            Ok(found) => Ok(found),
            Err(error) => {
                let page = self.client.source().await?;
                Err(error).with_context(|| format!("{css} did not appear; the page is {page}"))
            }
        }
    }

    async fn click(&self, css: &str) -> anyhow::Result<()> {
        Ok(self.wait(css).await?.click().await?)
    }

    /// Waits until the text of an element contains `part`.
    async fn wait_text(&self, css: &str, part: &str) -> anyhow::Result<()> {
        let mut text = String::new();
        for _ in 0..300 {
            if let Ok(found) = self.client.find(Locator::Css(css)).await {
                text = found.text().await.unwrap_or_default();
                if text.contains(part) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("{css} says {text:?}, not {part:?}")
    }

    async fn sign_in(&self, base: &str, email: &str) -> anyhow::Result<()> {
        self.client.goto(&format!("{base}/login")).await?;
        self.wait("[name=email]").await?.send_keys(email).await?;
        self.wait("[name=password]").await?.send_keys(PASSWORD).await?;
        self.click("main form button").await?;
        self.wait("header .name").await?;
        Ok(())
    }

    async fn sign_out(&self) -> anyhow::Result<()> {
        self.click("form[action='/logout'] button").await?;
        self.wait("[name=password]").await?;
        Ok(())
    }

    /// Nothing was asked for elsewhere, and the page is not wider than the window.
    async fn assert_sound(&self, base: &str) -> anyhow::Result<()> {
        let script = "return performance.getEntriesByType('resource').map(entry => entry.name)";
        let asked = self.client.execute(script, Vec::new()).await?;
        for url in asked.as_array().context("a list of addresses")? {
            let url = url.as_str().unwrap_or_default();
            anyhow::ensure!(url.starts_with(base) || url.starts_with("data:"), "the page asked for {url}");
        }
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        let over = self.client.execute(script, Vec::new()).await?;
        anyhow::ensure!(over.as_i64().unwrap_or(1) <= 0, "the page is {over} pixels too wide");
        Ok(())
    }

    /// The screen at two widths, in both languages; pictures if they are wanted.
    async fn look(&self, base: &str, name: &str) -> anyhow::Result<()> {
        let folder = effects::environment("POSTROOM_SCREENSHOTS").map(PathBuf::from);
        for language in ["en", "ja"] {
            for (width, height) in [(1440, 900), (390, 844)] {
                self.client.set_window_size(width, height).await?;
                // Chromium's window is never narrower than 500 pixels; the page is.
                self.metrics(width, height).await?;
                self.assert_sound(base).await.with_context(|| format!("{name} at {width} in {language}"))?;
                if let Some(folder) = &folder {
                    std::fs::create_dir_all(folder)?;
                    let picture = self.client.screenshot().await?;
                    std::fs::write(folder.join(format!("{name}-{width}-{language}.png")), picture)?;
                }
            }
            self.metrics(1440, 900).await?;
            let other = if language == "en" { "ja" } else { "en" };
            let here = self.client.current_url().await?;
            self.click(&format!("form[action='/language'] button[value={other}]")).await?;
            self.wait(&format!("html[lang={other}]")).await?;
            self.client.goto(here.as_str()).await?;
        }
        Ok(())
    }

    async fn metrics(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let command = Devtools {
            cmd: "Emulation.setDeviceMetricsOverride",
            params: json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        };
        self.client.issue_cmd(command).await?;
        Ok(())
    }

    /// What the console said since the start.
    async fn console(&self) -> anyhow::Result<Vec<String>> {
        let log = self.client.issue_cmd(BrowserLog).await?;
        let entries = log.as_array().cloned().unwrap_or_default();
        Ok(entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }
}

/// A command of Chromium's own.
#[derive(Debug)]
struct Devtools {
    cmd: &'static str,
    params: Value,
}

impl fantoccini::wd::WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "cmd": self.cmd, "params": self.params }).to_string()))
    }
}

/// Asks for the console.
#[derive(Debug)]
struct BrowserLog;

impl fantoccini::wd::WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let end = CancellationToken::new();
    let serving = Tasks::new(Cpu::Pool);
    serving.spawn(server::serve(listener, world.router(), None, end.clone()));
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
    end.cancel();
    serving.stop().await;
    world.assert_quiet().await
}
