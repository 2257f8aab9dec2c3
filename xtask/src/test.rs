//! `cargo xtask test` and `cargo xtask check`: what must hold before a change lands.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use crate::{
    assets,
    cargo::{self, cargo},
    conformance, demo,
    packages::{self, environment},
    postgres::{Server, Use},
};

/// Crates that may not enter: a second cryptography or TLS beside aws-lc-rs.
const BANNED: [&str; 4] = ["ring", "rsa", "openssl-sys", "native-tls"];
/// The one reason for which a test may be skipped in CI.
const DATA_ABSENT: &str = "no test data folder";

/// Format check, clippy, banned dependencies.
pub(crate) fn check() -> anyhow::Result<()> {
    assets::fetch()?;
    ban()?;
    cargo::run(&mut cargo(&["fmt", "--all", "--", "--check"]))
        .context("`cargo fmt --all` mends the format")?;
    cargo::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

/// Microsoft's clients and Postroom itself against the simulator: of a debug build in CI, else of the
/// release build.
pub(crate) fn conformance(is_ci: bool) -> anyhow::Result<()> {
    assets::fetch()?;
    let mut build = cargo(&["build", "--package", "postroom-app", "--bin", "postroom"]);
    if !is_ci {
        build.arg("--release");
    }
    cargo::run(&mut build)?;
    let target = demo::target()?;
    let profile = if is_ci { "debug" } else { "release" };
    conformance::run(&conformance::Options {
        program: target.join(profile).join("postroom"),
        scripts: crate::root().join("crates/sim/conformance"),
        cache: target.join("conformance"),
        is_ci,
    })
}

/// Feeds the simulator's parsers nonsense for a while: every case must be answered in the service's form.
pub(crate) fn fuzz(cases: u32) -> anyhow::Result<()> {
    println!("Each search runs {cases} cases; a failing one is printed in its shortest form and kept.");
    cargo::run(
        cargo(&["test", "--release", "--package", "postroom-sim", "--test", "graph", "--", "nonsense"])
            .env("PROPTEST_CASES", cases.to_string()),
    )
}

/// The fault simulation over a range of seeds.
pub(crate) fn chaos(seeds: &str, long: bool) -> anyhow::Result<()> {
    assets::fetch()?;
    let mut command = cargo(&["test", "--release", "--package", "postroom-app", "--test", "chaos", "--"]);
    command.args(["--seeds", seeds]);
    if long {
        command.arg("--long");
    }
    cargo::run(&mut command)
}

/// Everything.
pub(crate) fn run() -> anyhow::Result<()> {
    let begun = now();
    packages::ensure()?;
    check()?;
    let checked = begun.elapsed();
    let postgres = Server::start(Use::Tests)?;
    let skipped = std::env::temp_dir().join(format!("postroom-skipped-{}", std::process::id()));
    std::fs::write(&skipped, "").context("the list of skipped tests can't be made")?;
    let tested = cargo::run(
        cargo(&["test", "--workspace", "--no-fail-fast"])
            .env("POSTROOM_TEST_POSTGRES", postgres.url())
            .env("POSTROOM_TEST_DATA", data())
            .env("POSTROOM_SKIPPED", &skipped),
    );
    drop(postgres);
    let list = std::fs::read_to_string(&skipped).context("the list of skipped tests can't be read")?;
    std::fs::remove_file(&skipped)?;
    tested?;
    report_skipped(&list)?;
    let tests_done = begun.elapsed();
    conformance(true)?;
    println!(
        "Checks took {} s, tests {} s, Microsoft's clients {} s.",
        checked.as_secs(),
        (tests_done - checked).as_secs(),
        (begun.elapsed() - tests_done).as_secs()
    );
    Ok(())
}

/// Prints what did not run; in CI only an absent data folder is a reason.
fn report_skipped(list: &str) -> anyhow::Result<()> {
    let skipped: Vec<&str> = list.lines().collect();
    println!("{} tests skipped", skipped.len());
    for line in &skipped {
        println!("  {line}");
    }
    let unexcused = skipped.iter().filter(|line| !line.ends_with(DATA_ABSENT)).count();
    if environment("CI").is_some() {
        ensure!(unexcused == 0, "{unexcused} tests were skipped for a reason that CI does not know");
    }
    Ok(())
}

fn data() -> PathBuf {
    match environment("POSTROOM_TEST_DATA") {
        Some(folder) => folder.into(),
        None => crate::root().join("../shared/data"),
    }
}

/// Looks at what is built: the lock file also names optional dependencies that nobody asked for.
fn ban() -> anyhow::Result<()> {
    let tree = cargo::output(&mut cargo(&["tree", "--workspace", "--prefix", "none", "--format", "{p}"]))?;
    let mut found: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    found.retain(|name| BANNED.contains(name));
    found.dedup();
    if !found.is_empty() {
        bail!(
            "banned dependencies are built: {}; `cargo tree -i NAME` tells who wants them",
            found.join(", ")
        );
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a developer command may look at the clock")]
fn now() -> Instant {
    Instant::now()
}
