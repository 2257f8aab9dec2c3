//! Postroom itself as a client: configured as for production, with Microsoft's own
//! addresses, behind the simulator's proxy. Nothing in its configuration says that
//! there is a simulator but the CA that signed the simulator's certificate.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::simulator::Simulator;
use super::{Line, now};

/// How long the mail may be on its way.
const PATIENCE: Duration = Duration::from_secs(60);
const CLIENT: &str = "Postroom";
const MAIL: &str = "From: Anna <anna@customer.example>\r\nTo: support@contoso.example\r\n\
                    Subject: Through the proxy\r\nMessage-ID: <proxy@customer.example>\r\n\r\nHello\r\n";
const ORGANIZATION: &str = "\
organization: { name: Contoso Support, languages: [en] }
integrations:
  - name: contoso-graph
    kind: microsoft-graph
    token_endpoint: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token
    client_id: CLIENT
    cloud: global
    credentials:
      - { name: spring, secret: \"env:GRAPH_SECRET\", expires: 2099-03-31 }
    mailboxes:
      - { address: support@contoso.example }
domains:
  - { name: contoso.example, kind: inbound, integration: contoso-graph }
routes:
  - { address: support@contoso.example, queue: Support }
queues:
  - { name: Support, members: [agent1@contoso.example] }
users:
  - { email: agent1@contoso.example, name: Agent One, roles: [agent] }
";

/// Runs it; `program` is the binary, `folder` is emptied and used.
///
/// # Errors
/// When something can't be started or written; what does not work is a line of its own.
pub(super) fn run(program: &Path, folder: &Path) -> anyhow::Result<Vec<Line>> {
    let simulator = Simulator::start(program, folder)?;
    let ready: Value = serde_json::from_slice(&std::fs::read(simulator.ready())?)?;
    let text = |name: &str| ready[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
    let port = free_port()?;
    let config = folder.join("postroom.toml");
    let (state, data) = (simulator.state(), folder.join("data"));
    std::fs::create_dir_all(&data)?;
    std::fs::write(
        &config,
        format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"https://localhost:{port}\"\n\
             tls_cert = {cert:?}\ntls_key = {key:?}\n\n[store]\nurl = \"sqlite:{data}/postroom.db\"\n\
             blobs = \"{data}/blobs\"\n\n[keys]\nfile = \"{data}/postroom.keys\"\n\n[graph]\nca_file = {ca:?}\n",
            cert = state.join("server.pem"),
            key = state.join("server.key"),
            ca = state.join("ca.pem"),
            data = data.display(),
        ),
    )?;
    let organization =
        ORGANIZATION.replace("TENANT", &text("tenant_id")?).replace("CLIENT", &text("client_id")?);
    std::fs::write(folder.join("org.yaml"), organization)?;
    let secret = text("client_secret")?;
    let command = |words: &[&str]| {
        let mut command = Command::new(program);
        simulator.trust(&mut command, true);
        command.arg("-c").arg(&config).args(words).env("GRAPH_SECRET", &secret).stdin(Stdio::null());
        command
    };
    let applied = command(&["apply"]).arg(folder.join("org.yaml")).output()?;
    ensure!(applied.status.success(), "`apply` failed: {}", String::from_utf8_lossy(&applied.stderr));
    let log = std::fs::File::create(folder.join("postroom.log"))?;
    let _server = Server(command(&["serve"]).stdout(Stdio::null()).stderr(log).spawn()?);

    let control = text("control")?;
    let subscribed = eventually(|| {
        let figures = ask(&control, "GET", "/v1/figures", "", "")?;
        Ok(figures["by_kind"]["subscription.create"].as_u64() >= Some(1)
            && figures["by_kind"]["delta"].as_u64() >= Some(1))
    })?;
    ask(&control, "POST", "/v1/mailboxes/support@contoso.example/messages", "message/rfc822", MAIL)?;
    let taken = eventually(|| {
        let ledger = command(&["ledger", "--json"]).output()?;
        let rows = String::from_utf8_lossy(&ledger.stdout).into_owned();
        Ok(rows.lines().any(|row| row.contains("proxy@customer.example") && row.contains("routed")))
    })?;
    let read = eventually(|| {
        let inbox = ask(&control, "GET", "/v1/mailboxes/support@contoso.example/messages", "", "")?;
        Ok(inbox["messages"][0]["is_read"] == true)
    })?;
    let figures = ask(&control, "GET", "/v1/figures", "", "")?;
    let announced = figures["notifications"]["delivered"].as_u64() >= Some(1);
    let line = |capability: &str, passed: bool| Line {
        client: CLIENT.into(),
        capability: capability.into(),
        passed,
        why: if passed { String::new() } else { format!("see {}", folder.join("postroom.log").display()) },
    };
    Ok(vec![
        line("production endpoints: token, subscription, delta", subscribed),
        line("notification over TLS", announced),
        line("mail taken into its queue", taken),
        line("mail marked read", read),
    ])
}

/// The server, ended when this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            let _status = self.0.wait();
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn eventually(mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let begun = now();
    while begun.elapsed() < PATIENCE {
        if holds()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(false)
}

/// One request to the control API, with what it answers as JSON.
fn ask(control: &str, method: &str, path: &str, kind: &str, body: &str) -> anyhow::Result<Value> {
    let address = control.strip_prefix("http://").context("the control address is no http address")?;
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the control API gave no answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status.starts_with('2'), "{method} {path} was answered {status}: {body}");
    Ok(serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Where the files of this check are.
pub(super) fn folder(cache: &Path) -> PathBuf {
    cache.join("run/postroom")
}
