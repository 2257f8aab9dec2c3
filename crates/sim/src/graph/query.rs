//! Query options and `Prefer` headers of a request.

use http::HeaderMap;
use url::form_urlencoded;

use super::answer::Failure;
use super::filter::{Filter, Path};
use super::ids::IdKind;
use super::json::{self, Property};
use crate::content::Format;

/// Page size without `$top`, and the largest one.
const DEFAULT_PAGE: usize = 10;
const LARGEST_PAGE: usize = 1000;

/// Query options as texts, first occurrence of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    options: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let options = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self { options: options.into_owned().collect() }
    }

    /// An option by its name; system options are found with and without `$`.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let bare = name.trim_start_matches('$');
        let is_it = |(key, _): &&(String, String)| key.trim_start_matches('$').eq_ignore_ascii_case(bare);
        self.options.iter().find(is_it).map(|(_, value)| value.as_str())
    }

    /// All options but one, encoded for a link, ending in `&` unless empty.
    pub(crate) fn without(&self, name: &str) -> String {
        let others = self.options.iter().filter(|(key, _)| !key.eq_ignore_ascii_case(name));
        others.fold(String::new(), |mut text, (key, value)| {
            text.extend(form_urlencoded::byte_serialize(key.as_bytes()));
            text.push('=');
            text.extend(form_urlencoded::byte_serialize(value.as_bytes()));
            text.push('&');
            text
        })
    }

    /// `$top`, or the default page.
    pub(crate) fn page(&self) -> Result<usize, Failure> {
        Ok(self.top()?.unwrap_or(DEFAULT_PAGE))
    }

    /// `$top`, if it is given: 1 to 1000.
    pub(crate) fn top(&self) -> Result<Option<usize>, Failure> {
        match self.number("$top")? {
            Some(top) if !(1..=LARGEST_PAGE).contains(&top) => {
                Err(Failure::bad_request("The limit for $top is between 1 and 1000."))
            }
            top => Ok(top),
        }
    }

    pub(crate) fn skip(&self) -> Result<usize, Failure> {
        Ok(self.number("$skip")?.unwrap_or(0))
    }

    pub(crate) fn wants_count(&self) -> bool {
        self.find("$count").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn filter(&self) -> Result<Option<Filter>, Failure> {
        let Some(text) = self.find("$filter") else { return Ok(None) };
        if self.find("$search").is_some() {
            return Err(Failure::bad_request(
                "The query parameters '$search' and '$filter' can't be combined.",
            ));
        }
        Ok(Some(Filter::parse(text, |name| json::find_property(name).is_some())?))
    }

    /// The selected properties; `None` means the usual ones. Properties of derived types
    /// (`microsoft.graph.eventMessage/event`) select nothing of a plain message.
    pub(crate) fn select(&self) -> Result<Option<Vec<&'static Property>>, Failure> {
        let Some(text) = self.find("$select") else { return Ok(None) };
        let names = names(text).filter(|name| !name.contains('/'));
        let mut selected = Vec::new();
        for name in names {
            if name == "*" {
                return Ok(None);
            }
            selected.push(json::find_property(name).ok_or_else(|| {
                Failure::bad_request(format!(
                    "Could not find a property named '{name}' on type 'microsoft.graph.message'."
                ))
            })?);
        }
        Ok(Some(selected))
    }

    /// What `$orderby` asks for: paths of properties and whether each descends, first one first.
    pub(crate) fn order(&self) -> Result<Vec<(Path, bool)>, Failure> {
        let refused = |part: &str| {
            let message =
                format!("The property path '{part}' can't be ordered by, or its direction is unknown.");
            Failure::bad_request(message)
        };
        let mut order = Vec::new();
        for part in names(self.find("$orderby").unwrap_or_default()) {
            let mut words = part.split_whitespace();
            let path: Path = words.next().unwrap_or_default().split('/').map(str::to_owned).collect();
            let known = path.first().and_then(|root| json::find_property(root));
            if !known.is_some_and(|property| property.sorts) {
                return Err(refused(part));
            }
            match (words.next().map(str::to_ascii_lowercase).as_deref(), words.next()) {
                (None | Some("asc"), None) => order.push((path, false)),
                (Some("desc"), None) => order.push((path, true)),
                _ => return Err(refused(part)),
            }
        }
        Ok(order)
    }

    /// Names in `$select` of something whose properties are not those of a message, in lower case and
    /// without the name of a type before them.
    pub(crate) fn plain_select(&self) -> Option<Vec<String>> {
        self.find("$select").map(plain_names)
    }

    pub(crate) fn expand(&self) -> Result<Expand, Failure> {
        let mut expand = Expand::default();
        for part in parts(self.find("$expand").unwrap_or_default()) {
            let (name, options) = part.split_once('(').unwrap_or((part, ")"));
            let options = options.strip_suffix(')').unwrap_or(options).trim();
            let filter = |name: &str| {
                let filter = option(options, "$filter").ok_or_else(|| {
                    Failure::bad_request(format!("Expanding {name} needs a $filter on id."))
                })?;
                Ok::<_, Failure>(Filter::parse(filter, |name| matches!(name, "id" | "value"))?)
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "attachments" => {
                    expand.attachments = true;
                    expand.attachment_select = option(options, "$select").map(plain_names);
                }
                "singlevalueextendedproperties" => {
                    expand.properties = Some(filter("singleValueExtendedProperties")?);
                }
                "multivalueextendedproperties" => {
                    expand.multi_properties = Some(filter("multiValueExtendedProperties")?);
                }
                "extensions" => {}
                name => {
                    return Err(Failure::bad_request(format!(
                        "Parsing OData Select and Expand failed: Could not find a property named '{name}' on type \
                         'microsoft.graph.message'."
                    )));
                }
            }
        }
        Ok(expand)
    }

    fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.find(name) else { return Ok(None) };
        let invalid =
            |_| Failure::bad_request(format!("Invalid value '{text}' for {name} query option found."));
        text.trim().parse().map(Some).map_err(invalid)
    }
}

/// Names between commas.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn plain_names(text: &str) -> Vec<String> {
    names(text).map(|name| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase()).collect()
}

/// The value of one option inside the parentheses of an `$expand`.
fn option<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    options.split(';').find_map(|option| {
        let (key, value) = option.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Parts between commas that are outside parentheses and quotes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let mut quoted = false;
    let is_comma = move |letter: char| {
        match letter {
            '\'' | '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        letter == ',' && depth <= 0 && !quoted
    };
    text.split(is_comma).map(str::trim).filter(|part| !part.is_empty())
}

/// What `$expand` asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expand {
    pub(crate) attachments: bool,
    /// Which properties of the attachments, in lower case.
    pub(crate) attachment_select: Option<Vec<String>>,
    /// Which extended properties.
    pub(crate) properties: Option<Filter>,
    /// Which extended properties with several values.
    pub(crate) multi_properties: Option<Filter>,
}

/// What the `Prefer` headers ask for and this service knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prefer {
    pub(crate) ids: IdKind,
    pub(crate) body: Option<Format>,
    pub(crate) page: Option<usize>,
}

impl Prefer {
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for (name, value) in values.flat_map(parts).filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            match (name.trim().to_ascii_lowercase().as_str(), value.as_str()) {
                ("idtype", "immutableid") => prefer.ids = IdKind::Immutable,
                ("outlook.body-content-type", "text") => prefer.body = Some(Format::Text),
                ("outlook.body-content-type", "html") => prefer.body = Some(Format::Html),
                ("odata.maxpagesize", size) => {
                    prefer.page = size.parse().ok().map(|size: usize| size.clamp(1, LARGEST_PAGE));
                }
                _ => {}
            }
        }
        prefer
    }

    /// The `Preference-Applied` header, if any preference was applied.
    pub(crate) fn applied(&self) -> Option<String> {
        let ids = (self.ids == IdKind::Immutable).then(|| "IdType=\"ImmutableId\"".to_owned());
        let body = self.body.map(|format| format!("outlook.body-content-type=\"{}\"", format.name()));
        let page = self.page.map(|size| format!("odata.maxpagesize={size}"));
        let applied: Vec<String> = ids.into_iter().chain(body).chain(page).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_preferences_may_share_a_header_or_not() {
        let mut headers = HeaderMap::new();
        headers.append("prefer", "IdType=\"ImmutableId\", odata.maxpagesize=50".parse().unwrap());
        headers.append("prefer", "outlook.body-content-type=\"text\"".parse().unwrap());
        let applied = Prefer::parse(&headers).applied();
        let expected = "IdType=\"ImmutableId\", outlook.body-content-type=\"text\", odata.maxpagesize=50";
        assert_eq!(applied.as_deref(), Some(expected));
        assert_eq!(Prefer::parse(&HeaderMap::new()).applied(), None);
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let refused = |query: &str| {
            let query = Query::parse(Some(query));
            query.page().is_err()
                || query.skip().is_err()
                || query.select().is_err()
                || query.order().is_err()
                || query.filter().is_err()
                || query.expand().is_err()
        };
        for query in [
            "$top=0",
            "$top=1001",
            "$top=x",
            "$skip=-1",
            "$select=id,nope",
            "$orderby=body",
            "$orderby=receivedDateTime+down",
            "$orderby=receivedDateTime desc,nope",
            "$filter=nope+eq+1",
            "$expand=everything",
            "$expand=singleValueExtendedProperties",
        ] {
            assert!(refused(query), "{query}");
        }
        for query in [
            "",
            "%24top=1000&$skip=3",
            "$select=id,receivedDateTime&$orderby=receivedDateTime desc",
            "$orderby=from/emailAddress/name,receivedDateTime asc",
            "$expand=attachments($select=id,microsoft.graph.fileAttachment/contentId)",
            "$expand=attachments,singleValueExtendedProperties($filter=id eq 'String {a} Name B, C')",
        ] {
            assert!(!refused(query), "{query}");
        }
    }
}
