//! `cargo xtask conformance`: Microsoft's official clients, unmodified, against the
//! simulator over TLS.
//!
//! Each script of `crates/sim/conformance` is one client and gets a simulator of its
//! own, so that no script sees what another one did; Postroom itself is the last of them. The clients are installed once
//! into a folder below `target`, named after their lock files.

mod clients;
mod postroom;
mod simulator;
mod table;

use std::io::BufReader;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use clients::{Clients, Language};
use simulator::Simulator;

/// How long one script may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is run, and where its parts are.
pub(crate) struct Options {
    /// The binary `postroom`: in CI a debug build, else the release build.
    pub(crate) program: PathBuf,
    /// The folder `crates/sim/conformance`.
    pub(crate) scripts: PathBuf,
    /// Where clients are installed and logs are written; may be removed at any time.
    pub(crate) cache: PathBuf,
    /// Leaves out what CI has no room for: the 470 MB of Python's msgraph-sdk.
    pub(crate) is_ci: bool,
}

/// One client: a script, and how it is run.
struct Script {
    language: Language,
    file: &'static str,
    /// Its client is told nothing of the simulator: proxy and CA come by the environment.
    behind_proxy: bool,
    /// Whether CI runs it too.
    in_ci: bool,
}

const SCRIPTS: [Script; 8] = [
    script(Language::Python, "msal_tokens.py"),
    script(Language::Python, "azure_identity_tokens.py"),
    Script { in_ci: false, ..script(Language::Python, "msgraph_sdk.py") },
    Script { behind_proxy: true, in_ci: false, ..script(Language::Python, "default_endpoints.py") },
    script(Language::JavaScript, "msal_node.mjs"),
    script(Language::JavaScript, "azure_identity.mjs"),
    script(Language::JavaScript, "graph_client.mjs"),
    Script { behind_proxy: true, ..script(Language::JavaScript, "default_endpoints.mjs") },
];

const fn script(language: Language, file: &'static str) -> Script {
    Script { language, file, behind_proxy: false, in_ci: true }
}

/// What a script says of one capability.
#[derive(Debug, Deserialize)]
struct Line {
    client: String,
    capability: String,
    passed: bool,
    #[serde(default)]
    why: String,
}

/// Installs the clients, runs every script and prints the table client × capability.
///
/// # Errors
/// When something can't be installed or started, or a capability failed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begun = now();
    let clients = Clients::install(&options.scripts, &options.cache, options.is_ci)?;
    let installed = begun.elapsed();
    let mut lines = Vec::new();
    let mut left_out = Vec::new();
    for script in &SCRIPTS {
        if options.is_ci && !script.in_ci {
            left_out.push(script.file);
            continue;
        }
        lines.extend(run_script(options, &clients, script)?);
    }
    lines.extend(postroom::run(&options.program, &postroom::folder(&options.cache))?);
    print!("{}", table::render(&lines, &left_out));
    println!(
        "Installing took {:.0} s, the scripts {:.0} s.",
        installed.as_secs_f64(),
        (begun.elapsed() - installed).as_secs_f64()
    );
    let failed = lines.iter().filter(|line| !line.passed).count();
    ensure!(failed == 0, "{failed} of {} capabilities failed", lines.len());
    Ok(())
}

fn run_script(options: &Options, clients: &Clients, script: &Script) -> anyhow::Result<Vec<Line>> {
    let folder = options.cache.join("run").join(script.file);
    let simulator = Simulator::start(&options.program, &folder)?;
    let log = folder.join("script.log");
    let mut command = clients.command(script.language, script.file);
    command.arg(simulator.ready()).arg(simulator.state());
    simulator.trust(&mut command, script.behind_proxy);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
    let mut child = command.spawn().with_context(|| format!("{} can't be started", script.file))?;
    let output = child.stdout.take().context("the script has no output")?;
    let reading = std::thread::spawn(move || read_lines(BufReader::new(output)));
    let begun = now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("{} took longer than {} s; see {}", script.file, PATIENCE.as_secs(), log.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let lines = reading.join().map_err(|_| anyhow::anyhow!("reading {}'s output broke", script.file))??;
    ensure!(status.success() && !lines.is_empty(), "{} broke ({status}); see {}", script.file, log.display());
    Ok(lines)
}

fn read_lines(output: impl std::io::BufRead) -> anyhow::Result<Vec<Line>> {
    let parse = |line: std::io::Result<String>| {
        let line = line?;
        serde_json::from_str(&line).with_context(|| format!("a script printed no JSON line: {line}"))
    };
    output.lines().map(parse).collect()
}

#[expect(clippy::disallowed_methods, reason = "a developer command measures real time")]
fn now() -> Instant {
    Instant::now()
}
