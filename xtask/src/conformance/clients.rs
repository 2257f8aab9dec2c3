//! Installs Microsoft's clients, in the versions of the lock files, into private
//! folders. Only wheels for Python and no install scripts for JavaScript: nothing of
//! a package runs before the script itself does.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Written last into a folder: what is in it is complete.
const COMPLETE: &str = "complete";
/// What CI leaves out of `requirements.txt`, by the beginning of the line.
const NOT_IN_CI: [&str; 4] = ["msgraph", "microsoft-kiota", "opentelemetry", "std-uritemplate"];

/// Which interpreter a script needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    JavaScript,
}

/// The installed clients.
pub(super) struct Clients {
    python: PathBuf,
    javascript: PathBuf,
    scripts: PathBuf,
}

impl Clients {
    /// Installs what is not installed yet.
    ///
    /// # Errors
    /// When an interpreter is missing and can't be installed, or the packages can't be had.
    pub(super) fn install(scripts: &Path, cache: &Path, is_ci: bool) -> anyhow::Result<Self> {
        let clients = Self {
            python: install_python(&scripts.join("python"), cache, is_ci)?,
            javascript: install_javascript(&scripts.join("javascript"), cache)?,
            scripts: scripts.to_owned(),
        };
        Ok(clients)
    }

    /// The command that runs a script.
    pub(super) fn command(&self, language: Language, file: &str) -> Command {
        match language {
            Language::Python => {
                let mut command = Command::new(self.python.join("bin/python"));
                command.arg("-B").arg(self.scripts.join("python").join(file));
                command
            }
            Language::JavaScript => {
                let mut command = Command::new("node");
                command.arg(file).current_dir(&self.javascript);
                command
            }
        }
    }
}

fn install_python(source: &Path, cache: &Path, is_ci: bool) -> anyhow::Result<PathBuf> {
    let all = read(&source.join("requirements.txt"))?;
    let is_wanted = |line: &&str| !(is_ci && NOT_IN_CI.iter().any(|name| line.starts_with(name)));
    let wanted: Vec<&str> = all.lines().filter(is_wanted).collect();
    let wanted = wanted.join("\n") + "\n";
    let folder = cache.join(format!("python-{}", digest(&wanted)));
    if folder.join(COMPLETE).is_file() {
        return Ok(folder);
    }
    empty(&folder)?;
    ensure_debian("python3", &["-c", "import venv, ensurepip"], "python3-venv")?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let list = folder.join("requirements.txt");
    std::fs::write(&list, wanted)?;
    let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "-r"];
    run(Command::new(folder.join("bin/python")).args(pip).arg(list))?;
    std::fs::write(folder.join(COMPLETE), "")?;
    Ok(folder)
}

/// The scripts are copied beside `node_modules`: that is where Node looks for packages.
fn install_javascript(source: &Path, cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(format!("javascript-{}", digest(&read(&source.join("package-lock.json"))?)));
    let is_complete = folder.join(COMPLETE).is_file();
    if !is_complete {
        empty(&folder)?;
    }
    for entry in std::fs::read_dir(source)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    if !is_complete {
        ensure_debian("node", &["--version"], "nodejs")?;
        ensure_debian("npm", &["--version"], "npm")?;
        let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run(Command::new("npm").args(options).current_dir(&folder))?;
        std::fs::write(folder.join(COMPLETE), "")?;
    }
    Ok(folder)
}

/// Makes sure that a program works: installs its Debian package when this runs as root, else says
/// what is missing.
fn ensure_debian(program: &str, probe: &[&str], package: &str) -> anyhow::Result<()> {
    if works(program, probe) {
        return Ok(());
    }
    let id = Command::new("id").arg("-u").output().context("`id` can't be started")?;
    let is_root = String::from_utf8_lossy(&id.stdout).trim() == "0";
    ensure!(is_root, "the Debian package {package} is missing; install it with `apt-get install {package}`");
    println!("Installing {package}");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().args(["update", "-qq"]))?;
    run(apt().args(["install", "-y", "-qq", "--no-install-recommends", package]))?;
    ensure!(works(program, probe), "apt installed {package}, but `{program}` still does not work");
    Ok(())
}

fn works(program: &str, probe: &[&str]) -> bool {
    Command::new(program).args(probe).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("`{line}` can't be started"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))
}

fn digest(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
