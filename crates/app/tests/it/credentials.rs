//! Stories of credentials: every kind works, one takes over from another without a
//! gap, and what Microsoft says against one is told.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use postroom_app::{
    organization::Options,
    sample,
    world::{Ground, Plan, World},
};
use postroom_engine::credentials::{ChangeError, dated};
use postroom_model::{
    credential::{CredentialKind, Proof},
    ledger::Step,
    mailbox::MailboxHealth,
    organization::Credential,
};
use postroom_sim::NewFederation;
use postroom_store::{credentials::Preference, mailboxes, trace};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::json;

use crate::{
    laws::{Delivered, assert_taken_once, ledger, pause, write},
    take_in::{connected, world},
};

const CLIENT: &str = "22222222-2222-2222-2222-222222222222";
const SUPPORT: &str = "support@contoso.example";
const INTEGRATION: &str = "contoso-graph";

fn credential(name: &str, proof: Proof) -> Credential {
    dated(Credential { name: name.to_owned(), proof, starts_at: None, expires_at: None })
}

async fn add(world: &World, credential: &Credential, preference: Preference) -> anyhow::Result<()> {
    let integration = world.engine().find_integration(INTEGRATION).await?;
    world.engine().try_credential(&integration, credential).await??;
    Ok(world.engine().add_credential(&integration, credential, preference).await?)
}

async fn remove(world: &World, name: &str) -> anyhow::Result<()> {
    let integration = world.engine().find_integration(INTEGRATION).await?;
    Ok(world.engine().remove_credential(&integration, name, false).await?)
}

/// A new secret of the application.
fn new_secret(world: &World, name: &str) -> anyhow::Result<Credential> {
    let secret = world.simulator.add_secret(CLIENT, name, None)?.secret;
    Ok(credential(name, Proof::secret(secret)))
}

/// An RSA key, and a certificate with it that the application takes.
fn new_certificate(world: &World) -> anyhow::Result<Credential> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let certificate = params.self_signed(&key)?.pem();
    world.simulator.add_certificate(CLIENT, &certificate)?;
    let text = format!("{certificate}{}", key.serialize_pem());
    Ok(credential("certificate", Proof { kind: CredentialKind::Certificate, text: text.into() }))
}

/// The identity provider outside, of which the application takes assertions.
struct Provider {
    key: KeyPair,
}

impl Provider {
    fn trusted(world: &World) -> anyhow::Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let trust = NewFederation {
            issuer: "https://cluster.example".into(),
            subject: "system:serviceaccount:mail:postroom".into(),
            audience: None,
            public_key_pem: key.public_key_pem(),
        };
        world.simulator.add_federation(CLIENT, trust)?;
        Ok(Self { key })
    }

    /// Writes a token of an hour, as a cluster does.
    fn write(&self, now: Timestamp, path: &Path) -> anyhow::Result<()> {
        let claims = json!({
            "iss": "https://cluster.example",
            "sub": "system:serviceaccount:mail:postroom",
            "aud": "api://AzureADTokenExchange",
            "nbf": now.as_second(),
            "exp": now.as_second() + 3600,
        });
        // PKCS#8 has 26 bytes before the PKCS#1 key of an RSA key of this size.
        let key = jsonwebtoken::EncodingKey::from_rsa_der(&self.key.serialize_der()[26..]);
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        std::fs::write(path, jsonwebtoken::encode(&header, &claims, &key)?)?;
        Ok(())
    }
}

/// The only credential that Microsoft takes from now on, and no token of before.
fn leave_only(world: &World, name: &str) -> anyhow::Result<()> {
    let application = world.simulator.application(CLIENT)?;
    let others = application.credentials.iter().filter(|one| one.kind == "secret" && one.name != name);
    for secret in others {
        world.simulator.remove_credential(CLIENT, &secret.key_id.to_string())?;
    }
    world.simulator.set_switch("token.revoke", json!(true))?;
    Ok(())
}

async fn assert_never_failing(world: &World) -> anyhow::Result<()> {
    for mailbox in mailboxes::list(world.db()).await? {
        ensure!(mailbox.health == MailboxHealth::Healthy, "{}: {}", mailbox.address, mailbox.health);
    }
    Ok(())
}

/// The longest way of a mail from its delivery into a queue.
async fn slowest(world: &World, mails: &[(Timestamp, Delivered)]) -> anyhow::Result<SignedDuration> {
    let rows = ledger(world.db()).await?;
    let mut slowest = SignedDuration::ZERO;
    for (at, mail) in mails {
        let row = rows.iter().find(|row| row.graph_id == mail.graph_id).context("a mail is lost")?;
        let story = trace::list_of_message(world.db(), row.id).await?;
        let queued = story.iter().find(|entry| entry.step == Step::Queued).context("not in a queue")?;
        slowest = slowest.max(queued.at.duration_since(*at));
    }
    Ok(slowest)
}

#[tokio::test(start_paused = true)]
async fn credentials_are_rotated_under_load_and_no_mail_waits() -> anyhow::Result<()> {
    let world = world().await?;
    let mut mails = Vec::new();
    for second in 0..1200_u32 {
        match second {
            // The second one comes, the first one goes: in Microsoft Entra, then here.
            200 => add(&world, &new_secret(&world, "autumn")?, Preference::Last).await?,
            400 => leave_only(&world, "autumn")?,
            600 => add(&world, &new_certificate(&world)?, Preference::First).await?,
            800 => remove(&world, "autumn").await?,
            1000 => leave_only(&world, "none of the secrets")?,
            _ => {}
        }
        mails.push((world.now(), write(&world, SUPPORT, &format!("Second {second}"))));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_never_failing(&world).await?;
    }
    pause(2).await;
    let slowest = slowest(&world, &mails).await?;
    assert!(slowest < SignedDuration::from_secs(5), "a mail waited {slowest:#}");
    let mails: Vec<_> = mails.into_iter().map(|(_, mail)| mail).collect();
    assert_taken_once(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_anew_and_is_all_an_integration_needs() -> anyhow::Result<()> {
    let world = world().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("token");
    let provider = Provider::trusted(&world)?;
    provider.write(world.now(), &path)?;
    let text = path.to_str().context("a path in UTF-8")?;
    let proof = Proof { kind: CredentialKind::FederatedTokenFile, text: text.into() };
    add(&world, &credential("cluster", proof), Preference::First).await?;
    leave_only(&world, "none of the secrets")?;
    let mut mails = Vec::new();
    for hour in 0..6 {
        provider.write(world.now(), &path)?;
        mails.push(write(&world, SUPPORT, &format!("Hour {hour}")));
        pause(50).await;
        assert_never_failing(&world).await?;
    }
    assert_taken_once(&world, &mails).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_added_after_the_only_one_ended_is_used_at_once() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_switch("secret.expire", json!(true))?;
    world.simulator.set_switch("token.revoke", json!(true))?;
    let mail = write(&world, SUPPORT, "While the secret is expired");
    pause(300).await;
    let failing = mailboxes::list(world.db()).await?.remove(0);
    assert_eq!(failing.health, MailboxHealth::Failing);
    world.simulator.set_switch("secret.expire", json!(false))?;
    add(&world, &new_secret(&world, "next")?, Preference::Last).await?;
    pause(1).await;
    assert_never_failing(&world).await?;
    assert_taken_once(&world, &[mail]).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn what_microsoft_says_against_a_credential_is_told_and_what_to_do() -> anyhow::Result<()> {
    let world = world().await?;
    let integration = world.engine().find_integration(INTEGRATION).await?;
    let of_id = world.simulator.add_secret(CLIENT, "pasted wrongly", None)?.key_id;
    let pasted = credential("pasted", Proof::secret(of_id.to_string()));
    let refusal = world.engine().try_credential(&integration, &pasted).await?.err().context("refused")?;
    let words = refusal.to_string();
    assert!(words.contains("AADSTS7000215") && words.contains("value, not its id"), "{words}");

    let missing = Proof { kind: CredentialKind::FederatedTokenFile, text: "/nowhere/token".into() };
    let missing = credential("missing", missing);
    let refusal = world.engine().try_credential(&integration, &missing).await?.err().context("unusable")?;
    assert!(postroom_engine::in_full(&refusal).contains("/nowhere/token"), "{refusal}");

    let expired = Some(world.now() - SignedDuration::from_hours(24));
    let expired = world.simulator.add_secret(CLIENT, "old", expired)?.secret;
    let expired = credential("old", Proof::secret(expired));
    let refusal = world.engine().try_credential(&integration, &expired).await?.err().context("expired")?;
    assert!(refusal.to_string().contains("AADSTS7000222"), "{refusal}");
    assert_never_failing(&world).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn the_organisation_file_and_the_command_keep_to_their_own_credentials() -> anyhow::Result<()> {
    // Without a credential in the file, the integration waits for one.
    let mut plan = Plan::sample(Ground::Virtual);
    let with = plan.organization.clone();
    let listed = with.lines().find(|line| line.contains(sample::SECRET)).context("a credential")?;
    plan.organization = with.replace(&format!("    credentials:\n{listed}\n"), "");
    ensure!(plan.organization != with, "the sample has changed");
    let without = plan.organization.clone();
    let world = World::start(plan).await?;
    pause(20).await;
    let waiting = mailboxes::list(world.db()).await?.remove(0);
    assert!(waiting.health_detail.unwrap_or_default().contains("no credential; add one"));

    add(&world, &new_secret(&world, "by-command")?, Preference::Last).await?;
    connected(&world).await?;
    let refused = remove(&world, "by-command").await.err().context("the only one stays")?;
    assert!(refused.downcast_ref::<ChangeError>().is_some_and(|e| matches!(e, ChangeError::Only { .. })));
    let taken = add(&world, &new_secret(&world, "by-command")?, Preference::Last).await;
    assert!(taken.err().is_some_and(|error| error.to_string().contains("already")));

    // Applying, with and without credentials of its own, leaves the command's alone.
    let names = async || -> anyhow::Result<Vec<String>> {
        let integration = world.engine().find_integration(INTEGRATION).await?;
        Ok(integration.credentials.into_iter().map(|one| one.name).collect())
    };
    let how = Options { dry_run: false, prune: true };
    world.apply(&with, how).await?;
    assert_eq!(names().await?, ["demo", "by-command"]);
    let refused = remove(&world, "demo").await.err().context("the file's stays")?;
    assert!(refused.to_string().contains("organisation file"), "{refused}");
    world.apply(&without, how).await?;
    assert_eq!(names().await?, ["by-command"]);

    // One name is one credential.
    let clash = world.apply(&with.replace("name: demo", "name: by-command"), how).await;
    let clash = clash.err().context("refused")?.to_string();
    assert!(clash.contains("remove-credential contoso-graph by-command"), "{clash}");
    let mail = write(&world, SUPPORT, "All the while");
    pause(2).await;
    assert_taken_once(&world, &[mail]).await?;
    world.assert_quiet().await
}
