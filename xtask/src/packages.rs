//! The programs that the tests need beside Rust: found, or installed from Debian's
//! packages when this runs as root, or named so that a person can install them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::cargo;

/// A program and the Debian package that brings it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const PROGRAMS: [Program; 5] = [
    Program { name: "initdb", package: "postgresql" },
    Program { name: "postgres", package: "postgresql" },
    Program { name: "chromium", package: "chromium" },
    Program { name: "chromedriver", package: "chromium-driver" },
    Program { name: "promtool", package: "prometheus" },
];

/// Makes sure that every program is there.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root()? {
        bail!(
            "the tests need these Debian packages: {0}; install them with `apt-get install {0}`",
            missing.join(" ")
        );
    }
    println!("Installing {}", missing.join(" "));
    cargo::run(apt().arg("update").arg("-qq"))?;
    cargo::run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing))?;
    let still = self::missing();
    if !still.is_empty() {
        bail!("apt installed {}, but their programs are not found", still.join(" "));
    }
    Ok(())
}

/// The packages whose programs are not found.
fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> = PROGRAMS
        .iter()
        .filter(|program| find(program.name).is_none())
        .map(|program| program.package)
        .collect();
    packages.dedup();
    packages
}

/// Where a program is: on the path, or where Debian keeps PostgreSQL's.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let mut folders = postgres_folders();
    let path = environment("PATH").unwrap_or_default();
    folders.extend(path.split(':').map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The newest first.
fn postgres_folders() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(Path::new("/usr/lib/postgresql")) else { return Vec::new() };
    let mut versions: Vec<PathBuf> = entries.flatten().map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    versions.reverse();
    versions
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> anyhow::Result<bool> {
    Ok(cargo::output(Command::new("id").arg("-u"))? == "0")
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// One variable of the environment.
#[expect(clippy::disallowed_methods, reason = "a developer command reads its environment")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
