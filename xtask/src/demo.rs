//! `cargo xtask demo`: builds the binary and becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

use crate::{
    assets,
    cargo::{self, cargo},
};

/// Builds and runs the demo. `--release` is ours, everything else the demo's.
pub(crate) fn run(mut options: Vec<OsString>) -> anyhow::Result<()> {
    let before = options.len();
    options.retain(|option| option != "--release");
    let release = options.len() < before;
    assets::fetch()?;
    let mut build = cargo(&["build", "--package", "postroom-app", "--bin", "postroom"]);
    if release {
        build.arg("--release");
    }
    cargo::run(&mut build)?;
    let binary = target()?.join(if release { "release" } else { "debug" }).join("postroom");
    // The demo takes this process's place: signals reach it directly.
    let error = Command::new(&binary).arg("demo").args(options).exec();
    Err(error).with_context(|| format!("{} can't be started", binary.display()))
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> anyhow::Result<std::path::PathBuf> {
    let metadata = cargo::output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("cargo's metadata is not JSON")?;
    Ok(metadata["target_directory"].as_str().context("cargo names no target directory")?.into())
}
