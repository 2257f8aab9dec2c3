//! What the tests of this crate share: virtual time, repeatable randomness, and
//! a Microsoft that answers what a function says.

use std::sync::{
    Arc, LazyLock, Mutex,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use postroom_model::{Clock, Entropy};
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use tokio::time::Instant;

use crate::{Body, Cloud, Credential, Endpoints, Graph, GraphConfig, LaneConfig, Transport};

/// A clock that goes with tokio's.
pub(crate) fn clock() -> Clock {
    let start = Instant::now();
    let epoch: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    Clock::new(move || epoch + SignedDuration::try_from(start.elapsed()).unwrap())
}

pub(crate) fn entropy() -> Entropy {
    let mut n = 0_u8;
    Entropy::new(move |buffer| {
        for byte in buffer {
            n = n.wrapping_mul(167).wrapping_add(13);
            *byte = n;
        }
    })
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    Response::builder().status(status).body(body.into()).unwrap()
}

pub(crate) fn refusal(status: u16, code: &str) -> Response<Bytes> {
    answer(status, serde_json::json!({ "error": { "code": code, "message": "" } }).to_string())
}

/// A token endpoint's good answer, with a token that no other answer held.
pub(crate) fn fresh_token(lifetime: u64) -> Response<Bytes> {
    static ISSUED: AtomicU64 = AtomicU64::new(0);
    let token = format!("token-{}", ISSUED.fetch_add(1, Ordering::Relaxed));
    answer(200, serde_json::json!({ "access_token": token, "expires_in": lifetime }).to_string())
}

/// The application's certificate, good all through the year 2026.
pub(crate) static OWN: LazyLock<Pair> = LazyLock::new(Pair::make);
/// One that belongs to somebody else.
pub(crate) static STRANGER: LazyLock<Pair> = LazyLock::new(Pair::make);

/// A certificate and its RSA key as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    fn make() -> Self {
        let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::new(["app.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        Self { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

/// All requests that a transport carried.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Request<Bytes>>>>);

impl Record {
    pub(crate) fn all(&self) -> Vec<Request<Bytes>> {
        self.0.lock().unwrap().clone()
    }

    /// Those that went to Graph.
    pub(crate) fn graph(&self) -> Vec<Request<Bytes>> {
        self.all().into_iter().filter(|r| !is_token(r)).collect()
    }

    /// Those that asked for a token.
    pub(crate) fn tokens(&self) -> usize {
        self.all().iter().filter(|r| is_token(r)).count()
    }

    /// Begins anew.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    /// A field of the forms of those that asked for a token; empty where it is missing.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let field = |request: &Request<Bytes>| {
            let mut pairs = url::form_urlencoded::parse(request.body());
            pairs.find(|(key, _)| key == name).map_or_else(String::new, |(_, value)| value.into_owned())
        };
        self.all().iter().filter(|r| is_token(r)).map(field).collect()
    }

    /// The claims that tokens were asked with.
    pub(crate) fn claims(&self) -> Vec<serde_json::Value> {
        self.fields("claims").iter().map(|claims| serde_json::from_str(claims).unwrap()).collect()
    }
}

pub(crate) fn is_token(request: &Request<Bytes>) -> bool {
    request.uri().path().ends_with("/token")
}

/// A transport answered by `respond`, and the record of what it carried.
pub(crate) fn transport<F, A, B>(respond: F) -> (Transport, Record)
where
    F: Fn(Request<Bytes>) -> A + Send + Sync + 'static,
    A: Future<Output = std::io::Result<Response<B>>> + Send + 'static,
    B: Into<Body>,
{
    let record = Record::default();
    let kept = record.clone();
    let transport = Transport::in_process(move |request| {
        kept.0.lock().unwrap().push(request.clone());
        respond(request)
    });
    (transport, record)
}

pub(crate) fn endpoints() -> Endpoints {
    let token = "https://login.example/tenant/oauth2/v2.0/token".parse().unwrap();
    Endpoints::new(Cloud::Global, token, "https://graph.example".parse().ok())
}

/// A client whose tokens are always granted and whose Graph answers by `respond`.
pub(crate) fn graph<F, A, B>(respond: F) -> (Graph, Record)
where
    F: Fn(Request<Bytes>) -> A + Send + Sync + 'static,
    A: Future<Output = std::io::Result<Response<B>>> + Send + 'static,
    B: Into<Body> + 'static,
{
    let respond = Arc::new(respond);
    let (transport, record) = transport(move |request| {
        let respond = Arc::clone(&respond);
        async move {
            if is_token(&request) {
                return Ok(fresh_token(3600).map(Body::from));
            }
            Ok(respond(request).await?.map(Into::into))
        }
    });
    let config = GraphConfig {
        endpoints: endpoints(),
        client_id: "app".into(),
        credentials: vec![Credential::secret("only", "s")],
        lane: LaneConfig::default(),
    };
    (Graph::new(config, transport, clock(), entropy()), record)
}
