//! One call as data: what to ask, where, and with which preferences.
//!
//! Built by the typed operations, sent by `client`. Rule kept: whatever comes from
//! outside is percent-encoded into the address, and a link that Graph gave goes
//! back byte for byte.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use crate::{errors::GraphError, requests::Operation, token::Token};

pub(crate) struct Call {
    pub(crate) operation: Operation,
    method: Method,
    target: Uri,
    body: Bytes,
    page_size: Option<u32>,
    witness: Option<Uri>,
}

impl Call {
    fn new(operation: Operation, method: Method, target: Uri) -> Self {
        Self { operation, method, target, body: Bytes::new(), page_size: None, witness: None }
    }

    pub(crate) fn get(operation: Operation, target: Uri) -> Self {
        Self::new(operation, Method::GET, target)
    }

    pub(crate) fn post(operation: Operation, target: Uri) -> Self {
        Self::new(operation, Method::POST, target)
    }

    pub(crate) fn patch(operation: Operation, target: Uri) -> Self {
        Self::new(operation, Method::PATCH, target)
    }

    pub(crate) fn delete(operation: Operation, target: Uri) -> Self {
        Self::new(operation, Method::DELETE, target)
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        Self { body: body.to_string().into(), ..self }
    }

    /// How many bytes are sent.
    pub(crate) fn upload(&self) -> usize {
        self.body.len()
    }

    /// Asks for pages of this many items; a hint.
    pub(crate) fn page_size(self, items: u32) -> Self {
        Self { page_size: Some(items), ..self }
    }

    /// If Graph fails at this call, a small question about the same item is asked at once: its answer
    /// tells an item that can't be had from a mailbox that does not work.
    pub(crate) fn witness(self, target: Uri) -> Self {
        Self { witness: Some(target), ..self }
    }

    pub(crate) fn question(&self) -> Option<Self> {
        self.witness.clone().map(|target| Self::get(Operation::MessageMeta, target))
    }

    pub(crate) fn request(&self, token: &Token) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        self.fill(request.headers_mut(), token);
        request
    }

    fn fill(&self, headers: &mut HeaderMap, token: &Token) {
        headers.insert(header::AUTHORIZATION, token.bearer.clone());
        let prefer = match self.page_size {
            None => HeaderValue::from_static("IdType=\"ImmutableId\""),
            Some(items) => {
                HeaderValue::from_str(&format!("IdType=\"ImmutableId\", odata.maxpagesize={items}"))
                    .expect("a number is plain ASCII")
            }
        };
        headers.insert("prefer", prefer);
        if !self.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        } else if self.method == Method::POST {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
}

/// The root of Graph, for addresses of our own and for checking Graph's.
pub(crate) struct Root(String);

impl Root {
    pub(crate) fn new(graph: &url::Url) -> Self {
        Self(graph.as_str().trim_end_matches('/').to_owned())
    }

    /// An address below the version; `path` begins with a slash and is encoded.
    pub(crate) fn at(&self, path: &str) -> Uri {
        format!("{}/v1.0{path}", self.0).parse().expect("encoded parts make a URI")
    }

    /// A link that Graph gave, if it leads to Graph: our token goes there.
    pub(crate) fn follow(&self, operation: Operation, link: &str) -> Result<Uri, GraphError> {
        let malformed = |reason: &str| GraphError::Malformed { operation, reason: reason.to_owned() };
        let link: Uri = link.parse().map_err(|_| malformed("the link to the next page is no address"))?;
        let own: Uri = self.0.parse().expect("a URL is a URI");
        let place = |uri: &Uri| {
            let port = uri.port_u16().or_else(|| (uri.scheme_str() == Some("https")).then_some(443));
            (uri.scheme_str().map(str::to_owned), uri.host().map(str::to_ascii_lowercase), port)
        };
        let user = link.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if user || place(&link) != place(&own) {
            return Err(malformed("the link to the next page leads away from Graph"));
        }
        Ok(link)
    }
}

/// Text as one part of a path or as a value of a query: only unreserved characters stay.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// Text as a string in an OData filter, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root(url: &str) -> Root {
        Root::new(&url.parse().unwrap())
    }

    #[test]
    fn parts_of_a_path_are_encoded() {
        assert_eq!(encoded("anna@contoso.example"), "anna%40contoso.example");
        assert_eq!(encoded("AAkALg/+=_-"), "AAkALg%2F%2B%3D_-");
        assert_eq!(quoted("it's"), "'it''s'");
    }

    #[test]
    fn links_stay_byte_for_byte() {
        let root = root("https://graph.microsoft.com/");
        for link in [
            "https://graph.microsoft.com/v1.0/users/a%40b/mailFolders('inbox')/messages/delta?$deltatoken=a%2bB+c%2F==",
            "https://GRAPH.microsoft.com:443/v1.0//users/x/messages/delta()?%24skiptoken=_%252B'x'",
        ] {
            assert_eq!(root.follow(Operation::Delta, link).unwrap().to_string(), link);
        }
    }

    #[test]
    fn links_that_lead_elsewhere_are_refused() {
        let root = root("https://graph.microsoft.com");
        for link in [
            "https://graph.microsoft.com.evil.example/v1.0/",
            "http://graph.microsoft.com/v1.0/",
            "https://graph.microsoft.com:8443/v1.0/",
            "https://graph.microsoft.com@evil.example/",
            "https://me@graph.microsoft.com/",
            "/v1.0/users",
            "graph.microsoft.com",
            "no address",
            "",
        ] {
            assert!(
                matches!(root.follow(Operation::Delta, link), Err(GraphError::Malformed { .. })),
                "{link}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_makes_an_address(text in any::<String>()) {
            let uri = root("http://127.0.0.1:8080").at(&format!("/users/{}", encoded(&text)));
            prop_assert_eq!(uri.path().matches('/').count(), 3);
            prop_assert!(uri.query().is_none());
        }
    }
}
