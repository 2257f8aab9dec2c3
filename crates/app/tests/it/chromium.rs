//! Chromium, driven through its WebDriver.
//!
//! With `POSTROOM_SCREENSHOTS` naming a folder, each screen that a test looks at is also kept as a
//! picture, at 1440 and 390 pixels.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use postroom_app::{effects, server, world::World};
use postroom_engine::{Cpu, Tasks};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The password of everybody in these stories.
pub(crate) const PASSWORD: &str = "a good long password";
/// How long an element may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// A driver with its browser; both end with it.
pub(crate) struct Browser {
    pub(crate) client: Client,
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
    pub(crate) async fn start() -> anyhow::Result<Self> {
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

    pub(crate) async fn wait(&self, css: &str) -> anyhow::Result<fantoccini::elements::Element> {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        match found {
            Ok(found) => Ok(found),
            Err(error) => {
                let page = self.client.source().await?;
                Err(error).with_context(|| format!("{css} did not appear; the page is {page}"))
            }
        }
    }

    pub(crate) async fn click(&self, css: &str) -> anyhow::Result<()> {
        Ok(self.wait(css).await?.click().await?)
    }

    /// Waits until the text of an element contains `part`.
    pub(crate) async fn wait_text(&self, css: &str, part: &str) -> anyhow::Result<()> {
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

    pub(crate) async fn sign_in(&self, base: &str, email: &str) -> anyhow::Result<()> {
        self.client.goto(&format!("{base}/login")).await?;
        self.wait("[name=email]").await?.send_keys(email).await?;
        self.wait("[name=password]").await?.send_keys(PASSWORD).await?;
        self.click("main form button").await?;
        self.wait("header .name").await?;
        Ok(())
    }

    pub(crate) async fn sign_out(&self) -> anyhow::Result<()> {
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
    pub(crate) async fn look(&self, base: &str, name: &str) -> anyhow::Result<()> {
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

    /// The screen as it stands, at two widths.
    pub(crate) async fn look_here(&self, base: &str, name: &str) -> anyhow::Result<()> {
        let folder = effects::environment("POSTROOM_SCREENSHOTS").map(PathBuf::from);
        for (width, height) in [(1440, 900), (390, 844)] {
            self.client.set_window_size(width, height).await?;
            self.metrics(width, height).await?;
            self.assert_sound(base).await.with_context(|| format!("{name} at {width}"))?;
            if let Some(folder) = &folder {
                std::fs::create_dir_all(folder)?;
                std::fs::write(folder.join(format!("{name}-{width}.png")), self.client.screenshot().await?)?;
            }
        }
        self.metrics(1440, 900).await
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
    pub(crate) async fn console(&self) -> anyhow::Result<Vec<String>> {
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

/// The pages of a world on a port of this machine.
pub(crate) struct Served {
    pub(crate) base: String,
    end: CancellationToken,
    tasks: Tasks,
}

impl Served {
    pub(crate) async fn start(world: &World) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let (end, tasks) = (CancellationToken::new(), Tasks::new(Cpu::Pool));
        tasks.spawn(server::serve(listener, world.router(), None, end.clone()));
        Ok(Self { base, end, tasks })
    }

    pub(crate) async fn stop(self) {
        self.end.cancel();
        self.tasks.stop().await;
    }
}
