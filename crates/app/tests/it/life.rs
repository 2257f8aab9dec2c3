//! A long life in virtual time: renewals, a kill, a commit whose answer is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postroom_app::world::{Ground, Plan, World};
use postroom_store::db::{Fault, FaultPoint};

use crate::laws::{Delivered, assert_taken_once, deliver, mail};
use crate::take_in::connected;

const SUPPORT: &str = "support@contoso.example";

fn some(world: &World, day: u32) -> Vec<Delivered> {
    let mail = |number| mail("ann@customer.example", SUPPORT, &format!("Day {day}, {number}"), "");
    (0..5).map(|number| deliver(world, SUPPORT, mail(number))).collect()
}

#[tokio::test(start_paused = true)]
async fn seven_days_with_a_kill_and_a_commit_whose_answer_is_lost() -> anyhow::Result<()> {
    let mut world = World::start(Plan::sample(Ground::Virtual)).await?;
    connected(&world).await?;
    let mut delivered = Vec::new();
    for day in 0..8 {
        delivered.extend(some(&world, day));
        if day == 2 {
            // In the middle of taking in.
            tokio::time::sleep(Duration::from_millis(1)).await;
            world.kill().await;
            delivered.extend(some(&world, day));
            tokio::time::sleep(Duration::from_secs(60)).await;
            world.restart().await?;
        }
        if day == 4 {
            let lost = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&lost);
            world.set_fault(Some(Arc::new(move |point| {
                let first = point == FaultPoint::AfterCommit && !seen.swap(true, Ordering::Relaxed);
                first.then_some(Fault::Uncertain)
            })));
            delivered.extend(some(&world, day));
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(lost.load(Ordering::Relaxed), "an answer was lost");
            world.set_fault(None);
        }
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    }
    world.settle().await?;
    assert_taken_once(&world, &delivered).await?;
    let figures = world.simulator.figures();
    let renewed = figures.by_kind.get("subscription.renew").copied().unwrap_or_default();
    let made = figures.by_kind.get("subscription.create").copied().unwrap_or_default();
    assert!(renewed >= 3, "each of three subscriptions was renewed at half life, not {renewed} times in all");
    assert!(made <= 6, "{made} subscriptions were made for three folders and one kill");
    assert_eq!(world.simulator.subscriptions().len(), 3);
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn kills_at_any_moment_lose_and_double_nothing() -> anyhow::Result<()> {
    for seed in 0..20_u64 {
        let mut world = World::start(Plan { seed, ..Plan::sample(Ground::Virtual) }).await?;
        world.simulator.set_switch("latency_ms", serde_json::json!(20))?;
        connected(&world).await?;
        let mut delivered = Vec::new();
        for round in 0..4 {
            delivered.extend(some(&world, round));
            tokio::time::sleep(Duration::from_millis((seed * 37 + u64::from(round) * 13) % 190)).await;
            world.kill().await;
            delivered.extend(some(&world, round));
            world.restart().await?;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        world.settle().await?;
        assert_taken_once(&world, &delivered).await.map_err(|error| error.context(format!("seed {seed}")))?;
        world.assert_quiet().await?;
    }
    Ok(())
}
