//! Styles, scripts and pictures of the screens, embedded in the binary.
//!
//! Each lies under an address that names the content of all of them, so a browser
//! keeps it for ever and a new version is asked for at once. Nothing is ever asked
//! for elsewhere.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{Context, SHA256};
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use rust_embed::RustEmbed;

use crate::failure::Failure;

/// Our own files.
#[derive(RustEmbed)]
#[folder = "assets/src"]
struct Own;

/// What `cargo xtask assets` has fetched by the lock file.
#[derive(RustEmbed)]
#[folder = "assets/dist"]
struct Fetched;

/// One word for the content of all assets: the middle part of their addresses.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut context = Context::new(&SHA256);
    for name in Own::iter().chain(Fetched::iter()) {
        if let Some(bytes) = find(&name) {
            context.update(name.as_bytes());
            context.update(&bytes);
        }
    }
    context.finish().as_ref().iter().take(8).fold(String::new(), |mut word, byte| {
        let _infallible = write!(word, "{byte:02x}");
        word
    })
});

fn find(name: &str) -> Option<Cow<'static, [u8]>> {
    Own::get(name).or_else(|| Fetched::get(name)).map(|file| file.data)
}

/// `GET /assets/{version}/{name}`
pub(crate) async fn show(
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let bytes = find(&name).ok_or(Failure::NotFound)?;
    let kind = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    // A page of an older version still gets what there is, but does not keep it.
    let keep = match version == *VERSION {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let tag = format!("\"{}\"", *VERSION);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *tag);
    let mut answer = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
    };
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    Ok(answer)
}
