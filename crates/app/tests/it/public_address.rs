//! Our own address as Microsoft sees it: a certificate that does not hold is named, whatever is wrong with it.

use std::fs;

use anyhow::{Context as _, ensure};
use postroom_app::{
    effects,
    server::{self, Tls},
    system::{self, Around},
};
use postroom_engine::{Cpu, doctor::Options};
use postroom_graph::Transport;
use postroom_model::{
    IntegrationId,
    doctor::{Cause, Check, Finding, Verdict},
    organization::Limits,
};
use postroom_store::{
    Db, DbConfig, MIGRATIONS, SqliteMode, Store, blobs::Blobs, integrations::Integration, seal::Keys,
};
use postroom_web::Web;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;
use url::Url;

/// An authority, by which others are vouched for.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(by: Option<&Authority>, name: &str) -> anyhow::Result<Authority> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let pem = match by {
        Some(by) => params.signed_by(&key, &by.issuer)?,
        None => params.self_signed(&key)?,
    }
    .pem();
    Ok(Authority { pem, issuer: Issuer::new(params, key) })
}

/// A certificate for a name and until a year, and its key.
fn leaf(by: Option<&Authority>, name: &str, until: i32) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = match by {
        Some(by) => params.signed_by(&key, &by.issuer)?,
        None => params.self_signed(&key)?,
    };
    Ok((certificate.pem(), key.serialize_pem()))
}

/// What the doctor says of an address that shows this chain, where only `root` is trusted.
async fn examined(root: &str, chain: &str, key: &str) -> anyhow::Result<Finding> {
    let folder = TempDir::new()?;
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert_file, chain)?;
    fs::write(&key_file, key)?;
    let listener = server::bind(([127, 0, 0, 1], 0).into()).await?;
    let url = Url::parse(&format!("https://localhost:{}", listener.local_addr()?.port()))?;

    let path = folder.path().join("postroom.db");
    let db = Db::open(&DbConfig::Sqlite { path, mode: SqliteMode::Threads { readers: 1 } }).await?;
    db.migrate(MIGRATIONS).await?;
    let entropy = effects::system_entropy();
    let store = Store::new(db, Blobs::memory(), Keys::generate(&entropy), entropy);
    let trusting = Transport::network(Some(root.as_bytes()))?;
    let around = Around {
        transport: trusting.clone(),
        outside: trusting,
        clock: effects::system_clock(),
        cpu: Cpu::Pool,
        public_url: url.clone(),
        certificate_ends: None,
        look_at_space: None,
        alert_mail: None,
        tell_alert: None,
    };
    let (engine, tasks) = system::engine(store, around);
    let router = postroom_web::router(Web {
        engine: engine.clone(),
        public_url: url,
        trusted_proxies: Vec::new(),
        tasks: tasks.clone(),
    });
    let tls = Tls::load(&cert_file, &key_file)?;
    tasks.spawn(server::serve(listener, router, Some(tls), tasks.stopping().clone()));

    let integration = Integration {
        id: IntegrationId::from_uuid(uuid::Uuid::nil()),
        name: "contoso".to_owned(),
        token_endpoint: "http://127.0.0.1:9/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token"
            .to_owned(),
        client_id: "22222222-2222-2222-2222-222222222222".to_owned(),
        cloud: "global".to_owned(),
        // Played by this machine, which may call this machine.
        graph_url: Some("http://127.0.0.1:9".to_owned()),
        limits: Limits::default(),
        scope_probe: Vec::new(),
        user_read_at: None,
        credentials: Vec::new(),
    };
    let mut found = None;
    engine
        .examine(&integration, &[], &Options::default(), &mut |finding| {
            if finding.check == Check::PublicUrl {
                found = Some(finding);
            }
        })
        .await?;
    server::stop(&tasks).await;
    found.context("the address was not examined")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_the_certificate_at_our_address_is_named() -> anyhow::Result<()> {
    let root = authority(None, "Root")?;
    let between = authority(Some(&root), "Between")?;
    let (good, key) = leaf(Some(&between), "localhost", 2049)?;
    let whole = format!("{good}{}", between.pem);
    let told = examined(&root.pem, &whole, &key).await?;
    ensure!(told.verdict == Verdict::Yes, "{told:?}");
    let stranger = authority(None, "Somebody else")?;
    let of_between = |name, until| {
        leaf(Some(&between), name, until).map(|(leaf, key)| (format!("{leaf}{}", between.pem), key))
    };
    for (what, (chain, key)) in [
        ("the certificate between is missing", (good, key)),
        ("self-signed", leaf(None, "localhost", 2049)?),
        ("of an unknown authority", leaf(Some(&stranger), "localhost", 2049)?),
        ("expired", of_between("localhost", 2021)?),
        ("for another name", of_between("mail.contoso.example", 2049)?),
    ] {
        let told = examined(&root.pem, &chain, &key).await?;
        ensure!(told.cause == Some(Cause::PublicCertificate), "{what}: {told:?}");
    }
    Ok(())
}
