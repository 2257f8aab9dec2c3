//! Addresses to which Postroom sends secrets or asks for mail: encrypted, except to
//! this machine itself.

use std::borrow::Cow;

use postroom_model::doctor::is_this_machine;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use url::Url;

use super::{super::read::Scalar, schema};

/// The token endpoint of a tenant, version 2.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct TokenEndpoint(pub(in super::super) Url);

impl Scalar for TokenEndpoint {
    const WHAT: &'static str = "a token endpoint";

    fn understand(text: &str) -> Result<Self, String> {
        const FORM: &str = "write it like https://login.microsoftonline.com/TENANT/oauth2/v2.0/token";
        let url = address(text, FORM)?;
        let path: Vec<&str> = url.path_segments().into_iter().flatten().collect();
        match path.as_slice() {
            ["common" | "organizations" | "consumers", ..] => Err(format!(
                "\"{text}\" names no tenant; write the directory (tenant) id in place of \"{}\"",
                path[0]
            )),
            [tenant, "oauth2", "v2.0", "token"] if !tenant.is_empty() => Ok(Self(url)),
            [_, "oauth2", "token"] => Err(format!("\"{text}\" is the endpoint of version 1.0; {FORM}")),
            _ => Err(format!("\"{text}\" is not a token endpoint; {FORM}")),
        }
    }
}
schema!(TokenEndpoint, { "type": "string", "format": "uri", "pattern": "/oauth2/v2\\.0/token$" });

/// Where Graph is, in place of the cloud's own address; without a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct GraphUrl(pub(in super::super) String);

impl Scalar for GraphUrl {
    const WHAT: &'static str = "an address of Graph";

    fn understand(text: &str) -> Result<Self, String> {
        let url = address(text, "write it like https://graph.example.com")?;
        let text = url.as_str().trim_end_matches('/');
        // People copy it with its version, which is added to every request anyway.
        Ok(Self(text.strip_suffix("/v1.0").unwrap_or(text).trim_end_matches('/').to_owned()))
    }
}
schema!(GraphUrl, { "type": "string", "format": "uri" });

fn address(text: &str, form: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|_| format!("\"{text}\" is not a URL; {form}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("a URL here has no user name or password; {form}"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("\"{text}\" has something behind its path; {form}"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if url.host_str().is_some_and(is_this_machine) => Ok(url),
        "http" => {
            Err(format!("\"{text}\" is not encrypted; write https:// (http:// only for this machine itself)"))
        }
        _ => Err(format!("\"{text}\" is not a web address; {form}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_sent_encrypted_or_to_this_machine() {
        for base in
            ["https://login.microsoftonline.com", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
        {
            let text = format!("{base}/contoso.example/oauth2/v2.0/token");
            assert!(TokenEndpoint::understand(&text).is_ok(), "{text}");
        }
        for base in
            ["http://login.microsoftonline.com", "http://10.0.0.1", "ftp://localhost", "https://u:p@host"]
        {
            let error = TokenEndpoint::understand(&format!("{base}/t/oauth2/v2.0/token"));
            assert!(error.is_err(), "{base}");
        }
    }

    #[test]
    fn a_token_endpoint_names_a_tenant_and_version_two() {
        for path in [
            "",
            "/t/oauth2/token",
            "/common/oauth2/v2.0/token",
            "/t/oauth2/v2.0/token?a=b",
            "//oauth2/v2.0/token",
        ] {
            assert!(TokenEndpoint::understand(&format!("https://login.example{path}")).is_err(), "{path}");
        }
    }

    #[test]
    fn graphs_address_is_kept_without_its_version() {
        for text in ["https://graph.example", "https://graph.example/", "https://graph.example/v1.0/"] {
            assert_eq!(GraphUrl::understand(text).unwrap().0, "https://graph.example");
        }
        assert_eq!(GraphUrl::understand("http://127.0.0.1:1/graph").unwrap().0, "http://127.0.0.1:1/graph");
    }
}
