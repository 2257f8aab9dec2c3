//! Which language a reader gets: their own choice, else the browser's.

use axum::{
    Form,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use postroom_store::users::User;
use serde::Deserialize;

use crate::{failure::Failure, site::Site, texts::Locale, visitor::Visitor, visitor::see_other};

/// The cookie that keeps the choice of somebody who is not signed in.
const COOKIE: &str = "language";

/// The language of a reader.
pub(crate) fn choose(user: Option<&User>, jar: &CookieJar, headers: &HeaderMap) -> Locale {
    let known = user.and_then(|user| user.locale.as_deref()).and_then(Locale::find);
    let chosen = || jar.get(COOKIE).and_then(|cookie| Locale::find(cookie.value()));
    let accepted = || headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok().and_then(accepted);
    known.or_else(chosen).or_else(accepted).unwrap_or(Locale::En)
}

/// The best of our languages in an `Accept-Language` header.
fn accepted(header: &str) -> Option<Locale> {
    let mut wanted: Vec<(f32, Locale)> = header
        .split(',')
        .filter_map(|part| {
            let mut words = part.split(';');
            let locale = Locale::find(words.next()?.trim().get(..2)?)?;
            let quality = words.find_map(|word| word.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            Some((quality, locale))
        })
        .collect();
    // Stable: of equals the first named comes first.
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    wanted.first().filter(|(quality, _)| *quality > 0.0).map(|(_, locale)| *locale)
}

/// What the form of the language choice sends.
#[derive(Deserialize)]
pub(crate) struct Choice {
    locale: String,
    back: String,
}

/// `POST /language`
pub(crate) async fn set(
    State(site): State<Site>,
    visitor: Visitor,
    jar: CookieJar,
    Form(choice): Form<Choice>,
) -> Result<Response, Failure> {
    let locale = Locale::find(&choice.locale).ok_or(Failure::Unreadable)?;
    if let Some(user) = &visitor.user {
        site.engine.set_locale(user, locale.as_str()).await?;
    }
    let cookie = Cookie::build((COOKIE, locale.as_str()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(site.is_https())
        .permanent()
        .build();
    // Only a place of ours: neither another host nor a path that a browser reads as one.
    let is_ours = choice.back.starts_with('/') && !choice.back[1..].starts_with(['/', '\\']);
    let back = if is_ours { choice.back.as_str() } else { "/" };
    Ok((jar.add(cookie), see_other(back)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_s_best_language_of_ours_is_taken() {
        assert_eq!(accepted("de;q=0.9, ja-JP, en;q=0.8"), Some(Locale::Ja));
        assert_eq!(accepted("en-GB,en;q=0.9,ja;q=0.1"), Some(Locale::En));
        assert_eq!(accepted("ja;q=0.1, en;q=0.2"), Some(Locale::En));
        assert_eq!(accepted("fr, ja;q=0"), None);
        assert_eq!(accepted(""), None);
    }
}
