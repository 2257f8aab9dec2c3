//! HTML of strangers made safe to show, and text made into HTML and back.
//!
//! What [`safe_html`] gives is shown in a sandboxed frame with a strict policy
//! beside it; each of the three would do alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ammonia::{Builder, UrlRelative};

/// HTML that is safe to show in a sandboxed frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeHtml {
    /// A fragment, without document frame.
    pub html: String,
    /// How many things it wanted to load from elsewhere.
    pub blocked_remote: usize,
}

/// Above this many bytes the simple reader makes text of HTML.
const BIG: usize = 512 * 1024;

/// Width at which text made from HTML is broken: in effect not at all.
const WIDTH: usize = 4000;

/// The longest Content-ID that is looked for, in bytes as written in the HTML.
const LONGEST_ID: usize = 250;

/// As many different Content-IDs are looked for in one mail.
const MOST_PICTURES: usize = 1000;

/// What ends a Content-ID in HTML.
const ID_ENDS: [char; 7] = ['"', '\'', '>', ' ', ')', '\r', '\n'];

const ATTRIBUTES: [&str; 22] = [
    "style",
    "align",
    "valign",
    "width",
    "height",
    "bgcolor",
    "color",
    "face",
    "size",
    "border",
    "cellpadding",
    "cellspacing",
    "colspan",
    "rowspan",
    "dir",
    "lang",
    "title",
    "alt",
    "start",
    "type",
    "background",
    "srcset",
];

const STYLES: [&str; 32] = [
    "background-color",
    "border",
    "border-bottom",
    "border-collapse",
    "border-color",
    "border-left",
    "border-radius",
    "border-right",
    "border-spacing",
    "border-style",
    "border-top",
    "border-width",
    "color",
    "direction",
    "font",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "height",
    "letter-spacing",
    "line-height",
    "list-style-type",
    "margin",
    "max-width",
    "padding",
    "text-align",
    "text-decoration",
    "text-indent",
    "vertical-align",
    "white-space",
    "width",
];

/// Leaves of the HTML of a mail only what can do no harm. `picture` gives the address under
/// which an inline picture is shown, by its Content-ID.
pub fn safe_html(html: &str, picture: &dyn Fn(&str) -> Option<String>) -> SafeHtml {
    let pictures: BTreeMap<String, String> =
        content_ids(html).into_iter().filter_map(|id| picture(&id).map(|address| (id, address))).collect();
    let blocked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&blocked);
    let mut builder = Builder::default();
    builder
        .add_tags(["font", "center", "u", "big"])
        .rm_tags(["map", "area"])
        .add_generic_attributes(ATTRIBUTES)
        .rm_clean_content_tags(["style"])
        .clean_content_tags(HashSet::from(["script", "style", "title"]))
        .add_url_schemes(["cid", "data"])
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(move |element, attribute, value| {
            filtered(element, attribute, value, &pictures, &count)
        });
    let html = builder.clean(html).to_string();
    SafeHtml { html, blocked_remote: blocked.load(Ordering::Relaxed) }
}

fn filtered<'u>(
    element: &str,
    attribute: &str,
    value: &'u str,
    pictures: &BTreeMap<String, String>,
    blocked: &AtomicUsize,
) -> Option<Cow<'u, str>> {
    match (element, attribute) {
        ("img", "src") => {
            let lower = value.trim().to_ascii_lowercase();
            if let Some(id) = strip_scheme(value.trim(), "cid:") {
                return pictures.get(&unescaped(id)).map(|address| Cow::Owned(address.clone()));
            }
            let is_picture = ["png", "jpeg", "gif", "webp"]
                .iter()
                .any(|kind| lower.starts_with(&format!("data:image/{kind};base64,")));
            if is_picture {
                return Some(Cow::Borrowed(value));
            }
            blocked.fetch_add(1, Ordering::Relaxed);
            None
        }
        (_, "background" | "srcset") => {
            blocked.fetch_add(1, Ordering::Relaxed);
            None
        }
        (_, "href") => {
            let schemes = ["http:", "https:", "mailto:", "tel:"];
            schemes
                .iter()
                .any(|scheme| strip_scheme(value.trim(), scheme).is_some())
                .then_some(Cow::Borrowed(value))
        }
        (_, "src" | "cite" | "longdesc" | "action" | "poster") => None,
        (_, "style") => Some(Cow::Owned(safe_style(value, blocked))),
        _ => Some(Cow::Borrowed(value)),
    }
}

fn strip_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let head = value.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &value[scheme.len()..])
}

/// The declarations of a style that are known to be harmless.
fn safe_style(style: &str, blocked: &AtomicUsize) -> String {
    let mut kept = Vec::new();
    for declaration in style.split(';') {
        let Some((name, value)) = declaration.split_once(':') else { continue };
        let (name, lower) = (name.trim().to_ascii_lowercase(), value.to_ascii_lowercase());
        if lower.contains("url(") {
            blocked.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let is_known = STYLES.contains(&name.as_str())
            || ["margin-", "padding-"].iter().any(|head| name.starts_with(head))
            || name == "background" && !lower.contains('(');
        let is_plain = !value.contains(['\\', '<', '>', '{', '}', '@']) && !lower.contains("expression");
        if is_known && is_plain {
            kept.push(format!("{name}:{}", value.trim()));
        }
    }
    kept.join(";")
}

/// The Content-IDs that the HTML refers to, each once. What is too long is none, and too many are cut off:
/// the work grows with the length of the HTML and no faster, whatever stands in it.
fn content_ids(html: &str) -> BTreeSet<String> {
    let lower = html.to_ascii_lowercase();
    let mut ids = BTreeSet::new();
    let mut at = 0;
    while ids.len() < MOST_PICTURES
        && let Some(found) = lower[at..].find("cid:")
    {
        let start = at + found + "cid:".len();
        // One byte more than an id may have, to see whether it ends there.
        let window = &html[start..html.floor_char_boundary(start + LONGEST_ID + 1)];
        let id = window.split(ID_ENDS).next().unwrap_or(window);
        if id.len() <= LONGEST_ID && (id.len() < window.len() || start + window.len() == html.len()) {
            ids.insert(unescaped(id));
        }
        at = start + id.len();
    }
    ids
}

/// Undoes percent-encoding and the one entity that stands in addresses.
fn unescaped(text: &str) -> String {
    let text = text.replace("&amp;", "&");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text as HTML: escaped, its lines kept, web addresses made into links.
pub fn text_to_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 8);
    for paragraph in text.replace("\r\n", "\n").split("\n\n") {
        html.push_str("<p>");
        for (number, line) in paragraph.split('\n').enumerate() {
            if number > 0 {
                html.push_str("<br>");
            }
            linked(line, &mut html);
        }
        html.push_str("</p>");
    }
    html
}

fn linked(line: &str, html: &mut String) {
    let mut rest = line;
    while let Some((start, _)) = rest
        .match_indices("http")
        .find(|(at, _)| ["https://", "http://"].iter().any(|scheme| rest[*at..].starts_with(scheme)))
    {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| c.is_whitespace() || "<>\"'。、」）".contains(c)).unwrap_or(from.len());
        let address = from[..end].trim_end_matches(['.', ',', ')', ';', ':', '!', '?']);
        escape(before, html);
        html.push_str("<a href=\"");
        escape(address, html);
        html.push_str("\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">");
        escape(address, html);
        html.push_str("</a>");
        rest = &from[address.len()..];
        if address.len() <= "https://".len() {
            break;
        }
    }
    escape(rest, html);
}

pub(crate) fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
}

/// The readable text of HTML.
pub(crate) fn to_text(html: &str) -> String {
    let simple = || mail_parser::decoders::html::html_to_text(html);
    if html.len() > BIG {
        return simple();
    }
    let config = html2text::config::plain_no_decorate().allow_width_overflow().no_table_borders();
    config.string_from_read(html.as_bytes(), WIDTH).unwrap_or_else(|_| simple())
}

#[cfg(test)]
mod tests;
