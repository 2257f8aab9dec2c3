//! The headers of every answer: what a browser may load, whom it may tell, and
//! that nothing is kept.
//!
//! A handler that needs another policy (a mail in its frame, an asset that is
//! kept) sets its own header, which is left as it is.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use crate::site::Site;

/// Nothing but our own files; no inline script or style, no frame around us.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The policy of the frame that shows a mail: no script, no request, no form.
///
/// `allow-same-origin` lets our own page measure the frame's height and nothing else:
/// a script can't run in it (no `allow-scripts`, `default-src 'none'`), so the mail
/// itself can make no use of the origin. A link opens a window that is free of both.
pub(crate) const MAIL_POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
     sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox";

const FIXED: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// One year, in seconds.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds the headers that an answer does not have yet.
pub(crate) async fn add(State(site): State<Site>, request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in FIXED {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if site.is_https() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    answer
}
