//! Fetches the browser assets named by the lock file of `crates/web/assets`.
//!
//! They are third-party source and therefore never stand in the repository; the
//! build of `web` embeds them from the ignored folder `dist`.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use crate::cargo;

/// Where npm puts each file, and the name under which it is embedded.
const FILES: [(&str, &str); 2] =
    [("htmx.org/dist/htmx.min.js", "htmx.min.js"), ("htmx-ext-sse/dist/sse.min.js", "sse.min.js")];

/// Fetches them, if what is there is not what the lock file names.
pub(crate) fn fetch() -> anyhow::Result<()> {
    let folder = crate::root().join("crates/web/assets");
    let dist = folder.join("dist");
    let lock =
        fs::read(folder.join("package-lock.json")).context("the lock file of the assets can't be read")?;
    let stamp = dist.join(".lock");
    let complete = FILES.iter().all(|(_, name)| dist.join(name).is_file());
    if complete && fs::read(&stamp).is_ok_and(|fetched| fetched == lock) {
        return Ok(());
    }
    println!("Fetching the browser assets");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    cargo::run(&mut npm).context("npm fetches the browser assets; install Node.js with npm")?;
    fs::create_dir_all(&dist).with_context(|| format!("{} can't be made", dist.display()))?;
    for (from, name) in FILES {
        fs::copy(folder.join("node_modules").join(from), dist.join(name))
            .with_context(|| format!("{name} can't be copied from what npm fetched"))?;
    }
    fs::write(stamp, lock)?;
    Ok(())
}
