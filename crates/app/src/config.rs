//! The process's configuration: one TOML file, each value also by environment.
//!
//! Business objects (mailboxes, queues, people) are not here: they stand in the
//! organisation file and in the store. `config.default.toml` is the manual.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use postroom_web::Network;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

/// Everything the process needs to know before it opens the store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Config {
    /// Where it listens.
    pub server: Server,
    /// Where it keeps everything.
    pub store: Store,
    /// What seals it.
    pub keys: Keys,
    /// How Microsoft is reached.
    pub graph: Graph,
    /// Who may read the metrics.
    pub metrics: Metrics,
    /// Who is told when an administrator is needed.
    pub alerts: Alerts,
    /// What is logged.
    pub log: Log,
}

/// `[alerts]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Where each alert is posted to as JSON; a secret, as such addresses let anybody write.
    pub webhook: Option<SecretString>,
    /// To whom each is mailed; no connected mailbox.
    pub mail_to: Option<String>,
    /// The mailbox from which it is mailed; any that works if it is left out.
    pub mail_from: Option<String>,
    /// The language of their text: en or ja.
    pub language: String,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { webhook: None, mail_to: None, mail_from: None, language: "en".into() }
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address and port on which Prometheus finds `/metrics`; without it there is none.
    pub listen: Option<SocketAddr>,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The address under which people and Microsoft reach it.
    pub public_url: Url,
    /// Certificate chain in PEM; without it TLS is a proxy's work.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub tls_key: Option<PathBuf>,
    /// Proxies whose `X-Forwarded-For` is believed: a list of IP addresses and networks, or
    /// one text with commas between.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<Network>,
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "trusted_proxies is a list of texts like \"10.0.0.0/8\"")]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    let texts = match Texts::deserialize(deserializer)? {
        Texts::One(text) => text.split(',').map(str::to_owned).collect(),
        Texts::Many(texts) => texts,
    };
    let named = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    named
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| D::Error::custom(format!("trusted_proxies: {error}")))
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: Url::parse("http://127.0.0.1:8080").expect("a constant address"),
            tls_cert: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: SecretString,
    /// Folder of large sealed objects.
    pub blobs: PathBuf,
    /// CA certificates for PostgreSQL in PEM; TLS is used if this is set.
    pub ca_file: Option<PathBuf>,
    /// Connections to PostgreSQL at most.
    pub max_connections: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: SecretString::from("sqlite:data/postroom.db"),
            blobs: "data/blobs".into(),
            ca_file: None,
            max_connections: 16,
        }
    }
}

/// `[keys]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// The key file. Made at the first start on an empty store; back it up.
    pub file: PathBuf,
}

impl Default for Keys {
    fn default() -> Self {
        Self { file: "data/postroom.keys".into() }
    }
}

/// `[graph]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Graph {
    /// CA certificates to trust beside the system's, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// Which messages, as `level` or `target=level,…`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {path} can't be read; give the right path with --config")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} can't be understood: {cause}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        cause: toml::de::Error,
    },
    /// A value is wrong.
    #[error("the configuration can't be used: {0}")]
    Value(String),
}

/// Every value that can also be set by environment: section, key.
const VALUES: &[(&str, &str)] = &[
    ("server", "listen"),
    ("server", "public_url"),
    ("server", "tls_cert"),
    ("server", "tls_key"),
    ("server", "trusted_proxies"),
    ("store", "url"),
    ("store", "blobs"),
    ("store", "ca_file"),
    ("store", "max_connections"),
    ("keys", "file"),
    ("graph", "ca_file"),
    ("metrics", "listen"),
    ("alerts", "webhook"),
    ("alerts", "mail_to"),
    ("alerts", "mail_from"),
    ("alerts", "language"),
    ("log", "format"),
    ("log", "filter"),
];

/// Reads the file, if there is one, then the environment (`POSTROOM_SERVER_LISTEN`
/// and so on); a text that begins with `file:` stands for that file's content.
///
/// # Errors
/// When the file or a value can't be used.
pub fn load(
    path: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let mut table = match path {
        None => toml::Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
            toml::from_str(&text).map_err(|cause| ConfigError::Syntax { path: path.to_owned(), cause })?
        }
    };
    for (section, key) in VALUES {
        let name = format!("POSTROOM_{}_{}", section.to_uppercase(), key.to_uppercase());
        let Some(value) = environment(&name) else { continue };
        let value = match value.parse::<i64>() {
            Ok(number) if *key == "max_connections" => toml::Value::Integer(number),
            _ => toml::Value::String(value),
        };
        let entry = table.entry(*section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let Some(section) = entry.as_table_mut() {
            section.insert((*key).to_owned(), value);
        }
    }
    for (_, section) in table.iter_mut() {
        let Some(section) = section.as_table_mut() else { continue };
        for (_, value) in section.iter_mut() {
            if let Some(path) = value.as_str().and_then(|text| text.strip_prefix("file:")) {
                let text = std::fs::read_to_string(path)
                    .map_err(|cause| ConfigError::Read { path: path.into(), cause })?;
                *value = toml::Value::String(text.trim_end().to_owned());
            }
        }
    }
    let config: Config = toml::Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Value(error.to_string().trim().to_owned()))?;
    if config.server.tls_cert.is_some() != config.server.tls_key.is_some() {
        return Err(ConfigError::Value(
            "tls_cert and tls_key of [server] belong together: set both or none".into(),
        ));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn written(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let file = written("[server]\nlisten = \"127.0.0.1:1\"\n[log]\nfilter = \"debug\"\n");
        let environment = |name: &str| (name == "POSTROOM_SERVER_LISTEN").then(|| "127.0.0.1:2".to_owned());
        let config = load(Some(file.path()), &environment).unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.log.filter, "debug");
        assert_eq!(config.keys.file, Path::new("data/postroom.keys"));
    }

    #[test]
    fn a_file_reference_gives_the_file_s_content() {
        let secret = written("postgres://somewhere\n");
        let reference = format!("file:{}", secret.path().display());
        let config = load(None, &|name| (name == "POSTROOM_STORE_URL").then(|| reference.clone())).unwrap();
        assert_eq!(config.store.url.expose_secret(), "postgres://somewhere");
    }

    #[test]
    fn a_word_nobody_knows_is_refused_by_name() {
        let file = written("[server]\nlisen = \"x\"\n");
        let error = load(Some(file.path()), &|_| None).unwrap_err().to_string();
        assert!(error.contains("lisen"), "{error}");
    }

    #[test]
    fn half_a_tls_setting_is_refused() {
        let file = written("[server]\ntls_cert = \"a.pem\"\n");
        assert!(load(Some(file.path()), &|_| None).is_err());
    }

    #[test]
    fn trusted_proxies_are_a_list_in_the_file_and_stand_between_commas_in_the_environment() {
        let file = written("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\n");
        let listed = load(Some(file.path()), &|_| None).unwrap().server.trusted_proxies;
        assert_eq!(listed, ["10.0.0.0/8".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let environment = |name: &str| {
            (name == "POSTROOM_SERVER_TRUSTED_PROXIES").then(|| "10.0.0.0/8, 2001:db8::1".to_owned())
        };
        assert_eq!(load(None, &environment).unwrap().server.trusted_proxies, listed);

        for wrong in ["[\"10.0.0/8\"]", "\"10.0.0/8\"", "7"] {
            let file = written(&format!("[server]\ntrusted_proxies = {wrong}\n"));
            let error = load(Some(file.path()), &|_| None).unwrap_err().to_string();
            assert!(error.contains("trusted_proxies") && error.contains("10.0.0"), "{error}");
        }
    }

    #[test]
    fn the_manual_is_the_default() {
        let manual =
            load(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config.default.toml"))), &|_| None);
        assert_eq!(format!("{:?}", manual.unwrap()), format!("{:?}", Config::default()));
    }
}
