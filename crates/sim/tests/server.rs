//! The simulator over the network: TLS, links, the proxy.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use postroom_sim::{Certificate, Clock, Config, Network, Outgoing, Simulator, serve_proxy};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const MAIL: &str = "From: anna@customer.example\r\nSubject: Hello\r\n\r\nText\r\n";

/// A simulator with two mails, served in every way.
struct Served {
    simulator: Simulator,
    certificate: Certificate,
    https: SocketAddr,
    proxy: SocketAddr,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Served {
    async fn start() -> Self {
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        let simulator =
            Simulator::new(Config::sample(clock, Outgoing::Network(Network::trusting("").unwrap())));
        for _ in 0..2 {
            simulator.deliver("support@contoso.example", MAIL).unwrap();
        }
        let certificate = Certificate::make(&[]).unwrap();
        let (tls, proxied) = (free().await, free().await);
        let (https, proxy) = (tls.local_addr().unwrap(), proxied.local_addr().unwrap());
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let (server, own, end) = (simulator.clone(), certificate.clone(), stop.clone());
        tasks.spawn(async move { server.serve_https(tls, &own, end).await.unwrap() });
        tasks.spawn(serve_proxy(proxied, https, stop.clone()));
        Self { simulator, certificate, https, proxy, tasks, stop }
    }

    fn client(&self) -> reqwest::ClientBuilder {
        let ca = reqwest::Certificate::from_pem(self.certificate.ca_pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).no_proxy()
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

async fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Gets a token and a page of one mail; answers the link to the next page.
async fn next_link(client: &reqwest::Client, login: &str, graph: &str, config: &Config) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &config.client_id),
        ("client_secret", &config.client_secret),
        ("scope", "https://graph.microsoft.com/.default"),
    ];
    let url = format!("{login}/{}/oauth2/v2.0/token", config.tenant_id);
    let token: Value = client.post(url).form(&form).send().await.unwrap().json().await.unwrap();
    let url = format!("{graph}/v1.0/users/support@contoso.example/messages?$top=1");
    let request = client.get(url).bearer_auth(token["access_token"].as_str().unwrap());
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    page["@odata.nextLink"].as_str().unwrap().to_owned()
}

fn sample() -> Config {
    Config::sample(Clock::new(|| Timestamp::UNIX_EPOCH), Outgoing::Network(Network::trusting("").unwrap()))
}

#[tokio::test]
async fn links_begin_where_the_client_asked_in_both_versions_of_http() {
    let served = Served::start().await;
    let root = format!("https://localhost:{}", served.https.port());
    for client in [served.client().http1_only(), served.client()] {
        let link = next_link(&client.build().unwrap(), &root, &root, &sample()).await;
        assert!(link.starts_with(&root), "{link}");
    }
    served.end().await;
}

#[tokio::test]
async fn behind_the_proxy_it_is_microsoft_365() {
    let served = Served::start().await;
    let proxy = reqwest::Proxy::https(format!("http://{}", served.proxy)).unwrap();
    let client = served.client().proxy(proxy).build().unwrap();
    let (login, graph) = ("https://login.microsoftonline.com", "https://graph.microsoft.com");
    let link = next_link(&client, login, graph, &sample()).await;
    assert!(link.starts_with("https://graph.microsoft.com/v1.0/users/"), "{link}");
    assert!(client.get("https://example.com/").send().await.is_err());
    drop(client);
    assert_eq!(served.simulator.requests().log.len(), 2);
    served.end().await;
}

#[tokio::test]
async fn the_proxy_says_why_it_refuses() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.proxy).await.unwrap();
    stream.write_all(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("nowhere else, so not to example.com:443"), "{answer}");
    served.end().await;
}

#[tokio::test]
async fn a_client_that_hangs_in_its_handshake_keeps_nobody_waiting() {
    let served = Served::start().await;
    let mut hanging = Vec::new();
    for _ in 0..20 {
        hanging.push(TcpStream::connect(served.https).await.unwrap());
    }
    let root = format!("https://localhost:{}", served.https.port());
    let client = served.client().timeout(Duration::from_secs(5)).build().unwrap();
    let link = next_link(&client, &root, &root, &sample()).await;
    assert!(link.contains("skip"), "{link}");
    drop(hanging);
    served.end().await;
}

#[tokio::test]
async fn who_does_not_know_the_ca_does_not_trust_the_simulator() {
    let served = Served::start().await;
    let stranger = Certificate::make(&[]).unwrap();
    let ca = reqwest::Certificate::from_pem(stranger.ca_pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
    let url = format!("https://localhost:{}/v1.0/users", served.https.port());
    assert!(client.get(url).send().await.is_err());
    served.end().await;
}
