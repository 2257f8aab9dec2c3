//! Fault simulation: thousands of short lives of the whole server, each with other
//! faults, in virtual time. Everything in a run follows from its seed.
//!
//! `cargo test` runs the usual set. `cargo xtask chaos --seeds A..B [--long]` runs any
//! range; a range of one replays a single life and prints its faults.

mod laws;
mod plan;
mod run;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;

use laws::Verdict;
use plan::{Plan, Size};

/// The set that every test run goes through.
const USUAL: Range<u64> = 0..200;

/// Which lives.
#[derive(Parser)]
struct Options {
    /// Seeds, as FIRST..END without the end.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Four days each instead of three quarters of an hour.
    #[arg(long)]
    long: bool,
    /// Names of tests, given by `cargo test`: without "chaos" among them nothing runs.
    names: Vec<String>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("write FIRST..END, such as 0..200")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let range = number(first)?..number(end)?;
    if range.is_empty() { Err(format!("{text} holds no seed")) } else { Ok(range) }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.names.is_empty() && !options.names.iter().any(|name| name == "chaos") {
        return ExitCode::SUCCESS;
    }
    let seeds = options.seeds.unwrap_or(USUAL);
    let size = if options.long { Size::LONG } else { Size::USUAL };
    if seeds.clone().count() == 1 {
        print!("{}", Plan::of(seeds.start, size));
    }
    let next = AtomicU64::new(seeds.start);
    let whole = Mutex::new(Verdict::default());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let verdict = live(seed, size);
                    add(&whole, seed, options.long, verdict);
                }
            });
        }
    });
    let whole = whole.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!(
        "seeds {}, mails {}, lost {}, doubled {}, violations {}",
        seeds.end - seeds.start,
        whole.mails,
        whole.lost,
        whole.doubled,
        whole.violations
    );
    if whole.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One life in a runtime of its own, whose time jumps to the next thing that happens.
fn live(seed: u64, size: Size) -> anyhow::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let verdict = runtime.block_on(run::run(&Plan::of(seed, size)));
    runtime.shutdown_timeout(Duration::ZERO);
    verdict
}

fn add(whole: &Mutex<Verdict>, seed: u64, long: bool, verdict: anyhow::Result<Verdict>) {
    let mut whole = whole.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let wrong = match verdict {
        Ok(verdict) => {
            whole.mails += verdict.mails;
            whole.lost += verdict.lost;
            whole.doubled += verdict.doubled;
            whole.violations += verdict.violations;
            if verdict.holds() {
                return;
            }
            let broken = (verdict.violations > 0).then(|| format!("{} violations", verdict.violations));
            verdict.wrong.into_iter().chain(broken).collect()
        }
        Err(error) => vec![format!("{error:#}")],
    };
    let long = if long { " --long" } else { "" };
    println!("seed {seed}: cargo xtask chaos --seeds {seed}..{}{long} replays it", seed + 1);
    for line in wrong {
        println!("  {line}");
        whole.wrong.push(line);
    }
}
