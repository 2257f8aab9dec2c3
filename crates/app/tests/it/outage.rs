//! Stories of a store that goes away for a while: whatever was in hand goes on as soon as
//! it is back, not when a claim of fifteen minutes runs out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use postroom_app::world::World;
use postroom_store::db::{Fault, FaultPoint};
use serde_json::json;

use crate::{
    laws::{assert_taken_once, deliver, ledger, mail, pause, write},
    take_in::world,
};

const SUPPORT: &str = "support@contoso.example";

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

/// The database fails there from now on, until it is let go.
fn break_store(world: &World, at: &'static [FaultPoint], fault: Fault) {
    world.set_fault(Some(Arc::new(move |point| at.contains(&point).then_some(fault))));
}

/// Seconds until each mail has come to its end and no job is left.
async fn seconds_until_idle(world: &World) -> anyhow::Result<u64> {
    for count in 0..3600 {
        if world.is_idle().await? {
            return Ok(count);
        }
        seconds(1).await;
    }
    anyhow::bail!("there is work left after an hour")
}

#[tokio::test(start_paused = true)]
async fn what_was_in_hand_while_the_store_failed_goes_on_when_it_is_back() -> anyhow::Result<()> {
    let world = world().await?;
    world.simulator.set_switch("latency_ms", json!(3000))?;
    let delivered: Vec<_> =
        (0..12).map(|number| write(&world, SUPPORT, &format!("Number {number}"))).collect();
    // Some are being fetched now, some wait for their turn.
    seconds(4).await;
    break_store(&world, &[FaultPoint::Query, FaultPoint::BeforeCommit], Fault::Unavailable);
    seconds(40).await;
    world.set_fault(None);
    let took = seconds_until_idle(&world).await?;
    assert!(took <= 90, "{took} s after the store was back there was still work");
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_given_back_and_is_no_try() -> anyhow::Result<()> {
    let world = world().await?;
    let lost = Arc::new(AtomicBool::new(false));
    for round in 0..12 {
        // Announced first, so that only the claim and what follows from it loses its answer.
        world.simulator.set_switch("latency_ms", json!(2000))?;
        write(&world, SUPPORT, &format!("Round {round}"));
        let before = ledger(world.db()).await?.len();
        world.until("it is announced", || async { Ok(ledger(world.db()).await?.len() > before) }).await?;
        world.simulator.set_switch("latency_ms", json!(0))?;
        let losing = Arc::clone(&lost);
        losing.store(true, Ordering::Relaxed);
        world.set_fault(Some(Arc::new(move |point| {
            (point == FaultPoint::AfterCommit && losing.load(Ordering::Relaxed)).then_some(Fault::Uncertain)
        })));
        seconds(30).await;
        lost.store(false, Ordering::Relaxed);
        world.set_fault(None);
        let took = seconds_until_idle(&world).await?;
        assert!(took <= 60, "round {round}: {took} s after answers came again there was still work");
    }
    assert!(ledger(world.db()).await?.iter().all(|row| row.state.is_final()), "none is held");
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_job_that_takes_longer_than_its_claim_is_run_once() -> anyhow::Result<()> {
    const PARTS: usize = 20;
    let world = world().await?;
    // Its bytes can't be had: it is put together from its parts, of which each takes nearly a minute.
    world.simulator.set_switch("value.broken_rate", json!(1))?;
    let part = |number: usize| {
        format!(
            "--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"{number}.pdf\"\r\n\r\n{number}\r\n"
        )
    };
    let mime = mail(
        "ann@customer.example",
        SUPPORT,
        "Twenty",
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n",
    )
    .replace("Good morning.\r\n", &((0..PARTS).map(part).collect::<String>() + "--b--\r\n"));
    deliver(&world, SUPPORT, mime);
    pause(1).await;
    world.simulator.set_switch("latency_ms", json!(59_000))?;
    seconds_until_idle(&world).await?;
    let row = &ledger(world.db()).await?[0];
    assert!(row.rebuilt, "{} ({})", row.state, row.reason);
    let asked = world.simulator.figures().by_kind;
    assert_eq!(asked.get("attachment.value").copied(), Some(PARTS as u64), "each part was asked for once");
    world.assert_quiet().await
}
