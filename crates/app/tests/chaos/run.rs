//! Lives through one plan: the real server code against the simulator, in virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postroom_app::world::{self, Ground, World};
use postroom_sim::{AccessRight, MailboxChange, MailboxConfig, MailboxStatus, Policy, Profile};
use postroom_store::db::{self, FaultPoint};
use postroom_store::{folders, mailboxes};
use serde_json::Value;

use crate::laws::{self, Delivered, Verdict};
use crate::plan::{Event, Fault, Plan, address};

const CLIENT: &str = "22222222-2222-2222-2222-222222222222";
/// By then every breaker has probed, every job had its turn and every folder was followed.
const HEALING: Duration = Duration::from_secs(90 * 60);
/// How often it is looked whether everything is healed.
const LOOK_EVERY: Duration = Duration::from_secs(120);
/// What comes late or twice has so long to do harm once everything looks healed.
const AFTERMATH: Duration = Duration::from_secs(15 * 60);

/// Runs the plan to its end and judges it.
pub(crate) async fn run(plan: &Plan) -> anyhow::Result<Verdict> {
    let mut life = Life::begin(plan).await?;
    let begun = tokio::time::Instant::now();
    for (at, event) in &plan.events {
        tokio::time::sleep_until(begun + *at).await;
        life.meet(event).await?;
    }
    life.heal().await?;
    life.wait_for_healing().await?;
    // Microsoft repeats a notification for hours, with growing waits: that is not waited for.
    let settled = life.world.until("nothing is left to do", || life.world.is_idle()).await;
    let verdict =
        laws::judge(&life.world, &life.delivered, plan.faults.iter().any(Fault::breaks_bytes)).await?;
    match settled {
        // Who has broken a law need not be quiet.
        Err(error) if verdict.holds() => Err(error),
        _ if !verdict.holds() => Ok(verdict),
        _ => {
            life.world.end().await?;
            Ok(verdict)
        }
    }
}

struct Life<'a> {
    plan: &'a Plan,
    world: World,
    /// What the application may do.
    roles: Vec<String>,
    delivered: Vec<Delivered>,
    broken: BTreeSet<usize>,
    is_down: bool,
}

impl<'a> Life<'a> {
    async fn begin(plan: &'a Plan) -> anyhow::Result<Self> {
        let addresses: Vec<String> = (0..plan.size.mailboxes).map(address).collect();
        let world = World::start(world::Plan {
            seed: plan.seed,
            mailboxes: addresses.iter().map(|address| MailboxConfig::new(address, address)).collect(),
            organization: organization(&addresses),
            ..world::Plan::sample(Ground::Virtual)
        })
        .await?;
        world
            .until("every mailbox is followed", || async {
                for mailbox in mailboxes::list(world.db()).await? {
                    let folders = folders::list_of_mailbox(world.db(), mailbox.id).await?;
                    if folders.iter().any(|folder| folder.crawled_at.is_none()) {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await?;
        let roles = world.simulator.application(CLIENT)?.roles;
        Ok(Self { plan, world, roles, delivered: Vec::new(), broken: BTreeSet::new(), is_down: false })
    }

    async fn meet(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::Arrives { mailbox } => {
                let number = self.delivered.len();
                let to = address(*mailbox);
                let mime = format!(
                    "Received: from mx.outside.example by mx.contoso.example; Mon, 2 Nov 2026 10:00:00 +0900\r\n\
                     From: Customer {number} <customer{number}@outside.example>\r\nTo: {to}\r\n\
                     Subject: Question {number}\r\nMessage-ID: <{number}@outside.example>\r\n\r\nGood morning.\r\n"
                );
                let graph_id = self.world.simulator.deliver(&to, mime.clone())?;
                self.delivered.push(Delivered { number, mailbox: to, graph_id, mime });
            }
            Event::Opened { mailbox } => {
                let to = address(*mailbox);
                if let Some(newest) = self.world.simulator.messages(&to)?.first() {
                    self.world.simulator.mark_by_hand(&to, &newest.id, true)?;
                }
            }
            Event::Begins(fault) => {
                self.broken.insert(*fault);
                self.set(&self.plan.faults[*fault], true)?;
            }
            Event::Ends(fault) => {
                self.broken.remove(fault);
                self.set(&self.plan.faults[*fault], false)?;
            }
            Event::Kill => {
                self.world.kill().await;
                self.is_down = true;
            }
            Event::Restart => self.restart().await?,
        }
        Ok(())
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        if self.is_down {
            self.world.restart().await?;
            self.is_down = false;
            self.world.set_fault(self.store_fault());
        }
        Ok(())
    }

    /// Everything works again.
    async fn heal(&mut self) -> anyhow::Result<()> {
        for fault in std::mem::take(&mut self.broken) {
            self.set(&self.plan.faults[fault], false)?;
        }
        self.world.simulator.set_profile(Profile::Calm);
        self.restart().await
    }

    /// Waits until each mail has come to its end, and a while longer; no more than [`HEALING`].
    async fn wait_for_healing(&self) -> anyhow::Result<()> {
        let mut left = HEALING;
        while !left.is_zero() {
            tokio::time::sleep(LOOK_EVERY).await;
            left = left.saturating_sub(LOOK_EVERY);
            let ended = self.world.count_ended().await?;
            if ended >= self.delivered.len() && self.world.is_idle().await? {
                left = left.min(AFTERMATH);
            }
        }
        Ok(())
    }

    fn set(&self, fault: &Fault, is_broken: bool) -> anyhow::Result<()> {
        let simulator = &self.world.simulator;
        match fault {
            Fault::Switch { mailbox: Some(mailbox), name, value } => {
                let value = if is_broken { value.clone() } else { Value::Null };
                simulator.set_mailbox_switch(&address(*mailbox), name, value)?;
            }
            Fault::Switch { mailbox: None, name, value } => {
                let usual = serde_json::to_value(Profile::Calm.switches())?;
                simulator.set_switch(name, if is_broken { value.clone() } else { usual[*name].clone() })?;
            }
            Fault::Licence { mailbox } => {
                let status = if is_broken { MailboxStatus::Unlicensed } else { MailboxStatus::Active };
                let change = MailboxChange { status: Some(status), ..MailboxChange::default() };
                simulator.change_mailbox(&address(*mailbox), change)?;
            }
            Fault::Policy { .. } => {
                let mailboxes: Vec<String> = self.broken_faults().filter_map(shut_out).map(address).collect();
                let policy = Policy { access_right: AccessRight::DenyAccess, mailboxes };
                let policies = if policy.mailboxes.is_empty() { vec![] } else { vec![policy] };
                simulator.set_policies(CLIENT, policies)?;
            }
            Fault::Consent => {
                let is_missing = self.broken_faults().any(|fault| *fault == Fault::Consent);
                let roles = if is_missing { Vec::new() } else { self.roles.clone() };
                simulator.set_roles(CLIENT, &roles)?;
            }
            Fault::Store { .. } | Fault::LostAnswers { .. } => {
                if !self.is_down {
                    self.world.set_fault(self.store_fault());
                }
            }
        }
        Ok(())
    }

    fn broken_faults(&self) -> impl Iterator<Item = &Fault> {
        self.broken.iter().map(|number| &self.plan.faults[*number])
    }

    /// What the database is to do, with all its faults together.
    fn store_fault(&self) -> Option<db::FaultHook> {
        let fails: Vec<u64> = self
            .broken_faults()
            .filter_map(|f| if let Fault::Store { of } = f { Some(*of) } else { None })
            .collect();
        let loses: Vec<u64> = self
            .broken_faults()
            .filter_map(|f| if let Fault::LostAnswers { of } = f { Some(*of) } else { None })
            .collect();
        if fails.is_empty() && loses.is_empty() {
            return None;
        }
        let count = AtomicU64::new(0);
        Some(Arc::new(move |point| {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            let hit = |list: &[u64]| list.iter().any(|of| nth.is_multiple_of(*of));
            match point {
                FaultPoint::Query | FaultPoint::BeforeCommit if hit(&fails) => Some(db::Fault::Unavailable),
                FaultPoint::AfterCommit if hit(&loses) => Some(db::Fault::Uncertain),
                _ => None,
            }
        }))
    }
}

fn shut_out(fault: &Fault) -> Option<usize> {
    match fault {
        Fault::Policy { mailbox } => Some(*mailbox),
        _ => None,
    }
}

fn organization(addresses: &[String]) -> String {
    let list = |line: &dyn Fn(&String) -> String| addresses.iter().map(line).collect::<String>();
    let mailboxes = list(&|address| format!("      - {{ address: {address} }}\n"));
    let routes = list(&|address| format!("  - {{ address: {address}, queue: Support }}\n"));
    format!(
        "organization: {{ name: Contoso, languages: [en] }}\nintegrations:\n  - name: contoso\n    kind: microsoft-graph\n    \
         token_endpoint: {token}\n    graph_url: {graph}\n    client_id: {CLIENT}\n    cloud: global\n    credentials:\n      \
         - {{ name: spring, secret: \"{secret}\" }}\n    mailboxes:\n{mailboxes}domains:\n  \
         - {{ name: contoso.example, kind: inbound, integration: contoso }}\nroutes:\n{routes}queues:\n  \
         - {{ name: Support, members: [agent@contoso.example] }}\nusers:\n  \
         - {{ email: agent@contoso.example, name: Agent, roles: [agent] }}\n",
        token = postroom_app::sample::TOKEN_ENDPOINT,
        graph = postroom_app::sample::GRAPH_URL,
        secret = postroom_app::sample::SECRET,
    )
}
