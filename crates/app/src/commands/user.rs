//! `postroom user add | reset`: passwords, which never stand in a file, and the first administrator
//! of a new store.

use std::io::{self, IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

use postroom_model::{EmailAddress, user::Role};

use crate::{config::Config, effects, organization};

/// What to do with a person's password.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Give a person their first password; with --role also one who is not there yet.
    Add(Added),
    /// Give a person a new password and end their sessions.
    Reset(Options),
}

/// Who is added.
#[derive(Debug, clap::Args)]
pub struct Added {
    #[command(flatten)]
    options: Options,
    /// Add the person, or give them this role beside those that they have: agent, supervisor or admin.
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// The person's name, if they are new; by default what stands before the @.
    #[arg(long, requires = "role")]
    name: Option<String>,
}

fn role(word: &str) -> Result<Role, String> {
    word.parse().map_err(|_| format!("\"{word}\" is no role; say agent, supervisor or admin"))
}

/// Whose password.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The person's address.
    email: String,
    /// Read the password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
}

/// Sets the password and prints it, if it was made here.
///
/// # Errors
/// When nobody has the address, or the password is too short.
pub async fn run(config: Config, command: Command) -> anyhow::Result<ExitCode> {
    let engine = super::open_engine(&config).await?;
    let options = match command {
        Command::Reset(options) => options,
        Command::Add(Added { options, role: None, .. }) => options,
        Command::Add(Added { options, role: Some(role), name }) => {
            let email: EmailAddress = options.email.parse()?;
            let usual = email.as_str().split('@').next().unwrap_or_default().to_owned();
            let name = organization::understand_name(&name.unwrap_or(usual)).map_err(anyhow::Error::msg)?;
            engine.put_user(&email, &name, role).await?;
            options
        }
    };
    let (password, made) = if options.password_stdin {
        if io::stdin().is_terminal() {
            eprintln!("Type the password, then Enter and Ctrl+D:");
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("the password can't be read from standard input")?;
        (SecretString::from(text.trim_end_matches(['\r', '\n'])), false)
    } else {
        (SecretString::from(make_password()), true)
    };
    engine.set_password(&options.email, password.clone()).await?;
    if made {
        println!("{}", password.expose_secret());
    }
    Ok(ExitCode::SUCCESS)
}

/// A password of about 95 bits that can be read aloud.
pub(crate) fn make_password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789a";
    let bytes: [u8; 19] = effects::system_entropy().bytes();
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
