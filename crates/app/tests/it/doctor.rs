//! Broken set-ups, and whether the doctor's first *no* names what was broken.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use postroom_app::{organization, sample, world::World};
use postroom_engine::{credentials::dated, doctor::Options};
use postroom_model::{
    credential::{CredentialKind, Proof},
    doctor::{Cause, Check, Finding, Verdict},
    ledger::{MessageState, Reason},
    organization as organization_model,
};
use postroom_sim::{AccessRight, Assignment, MailboxChange, MailboxStatus, Policy};
use postroom_store::{
    integrations::{self, Integration},
    mailboxes,
};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::json;

use crate::{
    laws::{ledger, pause},
    take_in::{connected, world},
};

const CLIENT: &str = "22222222-2222-2222-2222-222222222222";
const SUPPORT: &str = "support@contoso.example";
const SALES: &str = "sales@contoso.example";
const BILLING: &str = "billing@contoso.example";

async fn integration(world: &World) -> anyhow::Result<Integration> {
    let all = integrations::list(world.engine().store()).await?;
    all.into_iter().next().context("an integration")
}

async fn examined(
    world: &World,
    integration: &Integration,
    options: &Options,
) -> anyhow::Result<Vec<Finding>> {
    let mailboxes = mailboxes::list(world.db()).await?;
    let mut findings = Vec::new();
    world.engine().examine(integration, &mailboxes, options, &mut |finding| findings.push(finding)).await?;
    Ok(findings)
}

fn first_no(findings: &[Finding]) -> Option<(Check, Cause)> {
    let no = findings.iter().find(|finding| finding.verdict == Verdict::No)?;
    Some((no.check, no.cause?))
}

#[tokio::test(start_paused = true)]
async fn a_sound_set_up_is_well_in_every_step_and_leaves_no_trace() -> anyhow::Result<()> {
    let world = world().await?;
    connected(&world).await?;
    world.simulator.add_mailbox("boss@contoso.example", "Boss", &[], Default::default())?;
    restrict(&world, &[SUPPORT, SALES, BILLING])?;
    let probe = "    scope_probe: [boss@contoso.example]\n    mailboxes:";
    let closed = sample::ORGANIZATION.replacen("    mailboxes:", probe, 1);
    world.apply(&closed, organization::Options::default()).await?;
    let findings = examined(&world, &integration(&world).await?, &Options::default()).await?;
    ensure!(first_no(&findings).is_none(), "{findings:#?}");
    for check in Check::ALL {
        let verdicts: Vec<Verdict> = findings
            .iter()
            .filter(|finding| finding.check == *check)
            .map(|finding| finding.verdict)
            .collect();
        ensure!(!verdicts.is_empty(), "{check} was not asked");
        let expected = match check {
            Check::UserRead | Check::Send => Verdict::CantTell,
            _ => Verdict::Yes,
        };
        ensure!(verdicts.iter().all(|verdict| *verdict == expected), "{check}: {verdicts:?}");
    }
    pause(10).await;
    let rows = ledger(world.db()).await?;
    ensure!(rows.len() == 3, "{} rows for three mailboxes", rows.len());
    for row in rows {
        ensure!(
            (row.state, row.reason) == (MessageState::Ignored, Reason::Probe),
            "{} {}",
            row.state,
            row.reason
        );
    }
    for address in [SUPPORT, SALES, BILLING] {
        let left =
            world.simulator.messages(address)?.into_iter().filter(|mail| mail.folder == "inbox").count();
        ensure!(left == 0, "{left} messages are left in {address}");
    }
    world.assert_quiet().await
}

fn restrict(world: &World, mailboxes: &[&str]) -> anyhow::Result<()> {
    let mailboxes = mailboxes.iter().map(|address| (*address).to_owned()).collect();
    world
        .simulator
        .set_policies(CLIENT, vec![Policy { access_right: AccessRight::RestrictAccess, mailboxes }])?;
    Ok(())
}

fn roles(world: &World, roles: &[&str]) -> anyhow::Result<()> {
    let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    world.simulator.set_roles(CLIENT, &roles)?;
    Ok(())
}

fn status(world: &World, status: MailboxStatus) -> anyhow::Result<()> {
    let change = MailboxChange { status: Some(status), ..MailboxChange::default() };
    world.simulator.change_mailbox(SUPPORT, change)?;
    Ok(())
}

/// A certificate of these years with its key, and the certificate alone.
fn certificate((from, to): (i32, i32)) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    let certificate = params.self_signed(&key)?.pem();
    Ok((format!("{certificate}{}", key.serialize_pem()), certificate))
}

fn sign_in_with(set: &mut Integration, text: String) -> anyhow::Result<()> {
    let credential = set.credentials.first_mut().context("a credential")?;
    let proof = Proof { kind: CredentialKind::Certificate, text: text.into() };
    let name = credential.name.clone();
    let dated = dated(organization_model::Credential { name, proof, starts_at: None, expires_at: None });
    credential.proof = dated.proof;
    (credential.starts_at, credential.expires_at) = (dated.starts_at, dated.expires_at);
    Ok(())
}

/// What is broken, and what the first *no* must say.
fn broken(world: &World, set: &mut Integration, what: &str) -> anyhow::Result<(Check, Cause)> {
    let simulator = &world.simulator;
    let application = simulator.application(CLIENT)?;
    let at = |path: &str| format!("http://127.0.0.1:2/{path}");
    let tenant = "11111111-1111-1111-1111-111111111111";
    Ok(match what {
        "the secret is removed" => {
            let secret = application.credentials.first().context("a secret")?;
            simulator.remove_credential(CLIENT, &secret.key_id.to_string())?;
            (Check::Credential, Cause::SecretWrong)
        }
        "the secret has expired" => {
            let secret = application.credentials.first().context("a secret")?;
            simulator.expire_secret(CLIENT, &secret.key_id.to_string())?;
            (Check::Credential, Cause::SecretExpired)
        }
        "all secrets are expired" => {
            simulator.set_switch("secret.expire", json!(true))?;
            (Check::Credential, Cause::SecretExpired)
        }
        "the application is disabled" => {
            simulator.enable_application(CLIENT, false)?;
            (Check::Credential, Cause::ApplicationDisabled)
        }
        "the client id is another" => {
            set.client_id = "99999999-9999-9999-9999-999999999999".into();
            (Check::Credential, Cause::ApplicationUnknown)
        }
        "the tenant is another" => {
            set.token_endpoint = at("99999999-9999-9999-9999-999999999999/oauth2/v2.0/token");
            (Check::Credential, Cause::TenantUnknown)
        }
        "a mailbox that must be closed is open" => {
            set.scope_probe = vec![SALES.parse()?];
            (Check::Scope, Cause::ScopeOpen)
        }
        "a mailbox that must be closed is not there" => {
            set.scope_probe = vec!["nobody@contoso.example".parse()?];
            (Check::Scope, Cause::ScopeUnknown)
        }
        "the endpoint is v1" => {
            set.token_endpoint = at(&format!("{tenant}/oauth2/token"));
            (Check::TokenEndpoint, Cause::EndpointV1)
        }
        "the endpoint is the authorize page" => {
            set.token_endpoint = at(&format!("{tenant}/oauth2/v2.0/authorize"));
            (Check::TokenEndpoint, Cause::EndpointAuthorize)
        }
        "the endpoint is common" => {
            set.token_endpoint = at("common/oauth2/v2.0/token");
            (Check::TokenEndpoint, Cause::EndpointShared)
        }
        "the endpoint is of the US cloud" => {
            set.token_endpoint = format!("https://login.microsoftonline.us/{tenant}/oauth2/v2.0/token");
            (Check::TokenEndpoint, Cause::EndpointCloud)
        }
        "no permission" => {
            roles(world, &[])?;
            (Check::Mailbox, Cause::ReadMissing)
        }
        "only sending" => {
            roles(world, &["Mail.Send"])?;
            (Check::Mailbox, Cause::ReadMissing)
        }
        "only basic reading" => {
            roles(world, &["Mail.ReadBasic.All", "Mail.Send"])?;
            simulator.deliver(SUPPORT, crate::laws::mail("a@b.example", SUPPORT, "Hello", ""))?;
            (Check::Read, Cause::ContentMissing)
        }
        "only reading" => {
            roles(world, &["Mail.Read", "Mail.Send"])?;
            (Check::MarkRead, Cause::WriteMissing)
        }
        "only a role in Exchange for another mailbox" => {
            roles(world, &[])?;
            let assignment =
                Assignment { role: "Application Mail.ReadWrite".into(), mailboxes: vec![SALES.into()] };
            simulator.set_assignments(CLIENT, vec![assignment])?;
            (Check::Mailbox, Cause::ReadMissing)
        }
        "a policy restricts to others" => {
            restrict(world, &[SALES])?;
            (Check::Mailbox, Cause::PolicyBlocks)
        }
        "a policy denies" => {
            let policy = Policy { access_right: AccessRight::DenyAccess, mailboxes: vec![SUPPORT.into()] };
            simulator.set_policies(CLIENT, vec![policy])?;
            (Check::Mailbox, Cause::PolicyBlocks)
        }
        "no licence" => {
            status(world, MailboxStatus::Unlicensed)?;
            (Check::Mailbox, Cause::MailboxUnlicensed)
        }
        "on a server of the customer's" => {
            status(world, MailboxStatus::OnPremises)?;
            (Check::Mailbox, Cause::MailboxUnlicensed)
        }
        "no such user" => {
            status(world, MailboxStatus::Missing)?;
            (Check::Mailbox, Cause::MailboxUnknown)
        }
        "the secret's id is entered" => {
            let secret = set.credentials.first_mut().context("a credential")?;
            secret.proof.text = "33333333-3333-3333-3333-333333333333".to_owned().into();
            (Check::Credential, Cause::SecretId)
        }
        "the endpoint is a page" => {
            set.token_endpoint = at("");
            (Check::TokenEndpoint, Cause::EndpointPath)
        }
        "nobody listens at Entra ID" => {
            set.token_endpoint = format!("http://127.0.0.1:3/{tenant}/oauth2/v2.0/token");
            (Check::EntraReached, Cause::EntraRefused)
        }
        "the name of Entra ID is unknown" => {
            set.token_endpoint = format!("https://no-such-host.internal/{tenant}/oauth2/v2.0/token");
            (Check::EntraReached, Cause::EntraName)
        }
        "the certificate of Entra ID is not trusted" => {
            set.token_endpoint = format!("https://untrusted.example/{tenant}/oauth2/v2.0/token");
            (Check::EntraReached, Cause::EntraCertificate)
        }
        "Graph is behind a firewall" => {
            set.graph_url = Some("http://127.0.0.1:3".into());
            (Check::Mailbox, Cause::GraphRefused)
        }
        "Graph's name is unknown" => {
            set.graph_url = Some("https://no-such-host.internal".into());
            (Check::Mailbox, Cause::GraphName)
        }
        "the cloud is another" => {
            set.token_endpoint = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
            set.cloud = "usgov".into();
            (Check::TokenEndpoint, Cause::EndpointCloud)
        }
        "no credential" => {
            set.credentials.clear();
            (Check::Credential, Cause::CredentialMissing)
        }
        "the public address is plain" => {
            set.graph_url = None;
            (Check::PublicUrl, Cause::PublicInsecure)
        }
        "the clock is ten minutes wrong" => {
            simulator.set_switch("sts.ahead_s", json!(600))?;
            (Check::Clock, Cause::ClockWrong)
        }
        "announcements are lost" => {
            simulator.set_switch("notify.outage", json!(true))?;
            (Check::Notification, Cause::NotAnnounced)
        }
        "the mailbox is full" => {
            simulator.set_mailbox_switch(SUPPORT, "mailbox.quota", json!(true))?;
            (Check::Mailbox, Cause::MailboxFull)
        }
        "the certificate has expired" => {
            let (text, certificate) = certificate((2025, 2026))?;
            simulator.add_certificate(CLIENT, &certificate)?;
            sign_in_with(set, text)?;
            (Check::Credential, Cause::CertificateExpired)
        }
        "the certificate is not the application's" => {
            sign_in_with(set, certificate((2026, 2030))?.0)?;
            (Check::Credential, Cause::CertificateUnknown)
        }
        "the key is that of another certificate" => {
            let ((_, one), (other, _)) = (certificate((2026, 2030))?, certificate((2026, 2030))?);
            let key = other.split("-----BEGIN PRIVATE").nth(1).context("a key")?;
            simulator.add_certificate(CLIENT, &one)?;
            sign_in_with(set, format!("{one}-----BEGIN PRIVATE{key}"))?;
            (Check::Credential, Cause::AssertionInvalid)
        }
        "the disk is nearly full" => {
            world.leave_free(300 * 1024 * 1024);
            (Check::Space, Cause::SpaceLow)
        }
        code => {
            let (number, cause) = CODES
                .iter()
                .find(|(number, _)| code == format!("AADSTS{number}"))
                .with_context(|| format!("nobody knows how to break \"{what}\""))?;
            simulator.set_switch("sts.refuse", json!(number))?;
            (Check::Credential, *cause)
        }
    })
}

const BROKEN: &[&str] = &[
    "the secret is removed",
    "the secret has expired",
    "all secrets are expired",
    "the application is disabled",
    "the client id is another",
    "the tenant is another",
    "a mailbox that must be closed is open",
    "a mailbox that must be closed is not there",
    "the endpoint is v1",
    "the endpoint is the authorize page",
    "the endpoint is common",
    "the endpoint is of the US cloud",
    "the endpoint is a page",
    "the secret's id is entered",
    "nobody listens at Entra ID",
    "the name of Entra ID is unknown",
    "the certificate of Entra ID is not trusted",
    "Graph is behind a firewall",
    "Graph's name is unknown",
    "the cloud is another",
    "no credential",
    "the public address is plain",
    "no permission",
    "only sending",
    "only basic reading",
    "only reading",
    "only a role in Exchange for another mailbox",
    "a policy restricts to others",
    "a policy denies",
    "no licence",
    "on a server of the customer's",
    "no such user",
    "the clock is ten minutes wrong",
    "announcements are lost",
    "the mailbox is full",
    "the certificate has expired",
    "the certificate is not the application's",
    "the key is that of another certificate",
    "the disk is nearly full",
];

/// What Entra ID refuses with, and what it means.
const CODES: &[(u32, Cause)] = &[
    (7_000_215, Cause::SecretWrong),
    (7_000_222, Cause::SecretExpired),
    (700_016, Cause::ApplicationUnknown),
    (7_000_112, Cause::ApplicationDisabled),
    (7_000_229, Cause::ConsentMissing),
    (65_001, Cause::ConsentMissing),
    (90_094, Cause::ConsentMissing),
    (90_002, Cause::TenantUnknown),
    (900_023, Cause::TenantUnknown),
    (50_194, Cause::EndpointShared),
    (9_001_023, Cause::EndpointShared),
    (700_027, Cause::CertificateUnknown),
    (700_024, Cause::AssertionTime),
    (50_013, Cause::AssertionInvalid),
    (70_021, Cause::FederationUnknown),
    (700_211, Cause::FederationUnknown),
    (700_212, Cause::FederationUnknown),
    (700_213, Cause::FederationUnknown),
    (7_000_218, Cause::CredentialMissing),
    (700_025, Cause::ApplicationPublic),
    (70_011, Cause::ScopeWrong),
    (1_002_012, Cause::ScopeWrong),
    (500_011, Cause::ScopeWrong),
    (53_003, Cause::ConditionalAccess),
    (530_034, Cause::ConditionalAccess),
    (530_035, Cause::ConditionalAccess),
    (50_020, Cause::TokenRefused),
];

#[tokio::test(start_paused = true)]
async fn the_first_no_names_what_is_broken_in_every_set_up() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let refused = CODES.iter().map(|(number, _)| format!("AADSTS{number}"));
    for what in BROKEN.iter().map(|what| (*what).to_owned()).chain(refused) {
        let world = world().await?;
        connected(&world).await?;
        let mut set = integration(&world).await?;
        let expected = broken(&world, &mut set, &what)?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let findings = examined(&world, &set, &Options::default()).await?;
        let found = first_no(&findings);
        if found != Some(expected) {
            let no_yes = findings.iter().filter(|finding| finding.verdict != Verdict::Yes);
            wrong.push(format!(
                "{what}: {expected:?} expected, but {found:?}: {:#?}",
                no_yes.collect::<Vec<_>>()
            ));
        }
        world.kill().await;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_mail_to_itself_arrives_and_nothing_of_it_stays() -> anyhow::Result<()> {
    let world = world().await?;
    let options = Options { send_probe: true, ..Options::default() };
    let findings = examined(&world, &integration(&world).await?, &options).await?;
    let sent: Vec<_> = findings.iter().filter(|finding| finding.check == Check::Send).collect();
    ensure!(sent.len() == 3 && sent.iter().all(|finding| finding.verdict == Verdict::Yes), "{sent:#?}");
    pause(10).await;
    for address in [SUPPORT, SALES, BILLING] {
        let left = world.simulator.messages(address)?;
        ensure!(left.is_empty(), "{} messages are left in {address}: {left:?}", left.len());
    }
    let rows = ledger(world.db()).await?;
    // Those that are made to be announced, and those that were sent.
    ensure!(rows.len() >= 3, "{} rows", rows.len());
    for row in &rows {
        ensure!(
            matches!(row.state, MessageState::Ignored | MessageState::Gone),
            "{} {}",
            row.state,
            row.reason
        );
    }
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_send_the_doctor_says_so_and_somebody_elses_words_are_a_mail()
-> anyhow::Result<()> {
    let world = world().await?;
    roles(&world, &["Mail.ReadWrite", "MailboxSettings.Read"])?;
    pause(100).await;
    let options = Options { send_probe: true, ..Options::default() };
    let findings = examined(&world, &integration(&world).await?, &options).await?;
    ensure!(first_no(&findings) == Some((Check::Send, Cause::SendMissing)), "{findings:#?}");
    let drafts = world.simulator.messages(SUPPORT)?;
    ensure!(drafts.is_empty(), "a draft is left: {drafts:?}");
    // Who knows how such a mail begins does not know the word.
    let forged =
        crate::laws::mail("eve@customer.example", SUPPORT, "Postroom doctor, removed at once: word", "");
    crate::laws::deliver(&world, SUPPORT, forged);
    pause(5).await;
    let rows = ledger(world.db()).await?;
    ensure!(rows.iter().any(|row| row.state == MessageState::Routed), "a customer's mail was left aside");
    world.assert_quiet().await
}
