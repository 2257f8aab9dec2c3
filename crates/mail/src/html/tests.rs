use proptest::prelude::*;

use super::*;

fn safe(html: &str) -> SafeHtml {
    safe_html(html, &|id| (id == "logo@x").then(|| "/pictures/1".to_owned()))
}

#[test]
fn what_can_do_harm_is_gone() {
    for harm in [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<a href=\"javascript:alert(1)\">x</a>",
        "<a href=\" JaVaScRiPt:alert(1)\">x</a>",
        "<a href=\"data:text/html,<script>alert(1)</script>\">x</a>",
        "<iframe src=https://evil.example></iframe>",
        "<form action=https://evil.example><input name=password></form>",
        "<meta http-equiv=refresh content='0;url=https://evil.example'>",
        "<base href=https://evil.example>",
        "<link rel=stylesheet href=https://evil.example/x.css>",
        "<svg onload=alert(1)><use href=data:x></svg>",
        "<style>@import url(https://evil.example)</style>",
        "<p style=\"background:url(https://evil.example/x.png)\">x</p>",
        "<p style=\"width:expression(alert(1))\">x</p>",
        "<td background=https://evil.example/x.png>x</td>",
        "<img srcset=\"https://evil.example/x.png 2x\">",
        "<video poster=https://evil.example/x.png src=https://evil.example/x.mp4></video>",
        "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style></mglyph></math>",
        "<img src=\"data:image/svg+xml;base64,PHN2Zy8+\">",
    ] {
        let html = safe(harm).html.to_lowercase();
        for word in
            ["script", "onerror", "onload", "evil", "iframe", "<form", "<input", "<meta", "svg", "expression"]
        {
            assert!(!html.contains(word), "{harm} became {html}");
        }
    }
}

#[test]
fn pictures_of_the_mail_are_shown_and_remote_ones_counted() {
    let shown =
        safe("<img src=\"cid:logo%40x\" alt=Logo><img src=CID:unknown><img src=https://track.example/1.gif>");
    assert_eq!(shown.html, "<img src=\"/pictures/1\" alt=\"Logo\"><img><img>");
    assert_eq!(shown.blocked_remote, 1);
}

#[test]
fn a_mail_of_nothing_but_content_ids_costs_no_more_than_its_length() {
    for piece in ["cid:", "cid:é", "cid:a ", "cid:%63"] {
        let html = piece.repeat(1_000_000 / piece.len());
        let ids = content_ids(&html);
        assert!(ids.len() <= MOST_PICTURES, "{piece}: {} ids", ids.len());
        assert!(ids.iter().map(String::len).sum::<usize>() <= html.len(), "{piece}");
    }
    let many: String = (0..200_000).map(|n| format!("cid:{n} ")).collect();
    assert_eq!(content_ids(&many).len(), MOST_PICTURES);
}

#[test]
fn an_id_that_no_mail_can_have_does_not_hide_the_next_one() {
    let html = format!("<img src=\"cid:{}\"><img src='cid:logo@x'><img src=cid:logo@x>", "é".repeat(400));
    assert_eq!(content_ids(&html), BTreeSet::from(["logo@x".to_owned()]));
    let longest = "x".repeat(LONGEST_ID);
    assert!(content_ids(&format!("cid:{longest}")).contains(&longest));
}

#[test]
fn the_look_of_an_honest_mail_stays() {
    let html = "<table border=\"1\"><tbody><tr><td style=\"color:red;position:fixed\">請求書</td></tr></tbody></table>";
    let shown = safe(html).html;
    assert!(shown.contains("style=\"color:red\"") && shown.contains("請求書"), "{shown}");
    let link = safe("<a href=\"https://contoso.example/a?b=c&amp;d=e\">x</a>").html;
    assert!(link.contains("target=\"_blank\"") && link.contains("noopener"), "{link}");
}

#[test]
fn text_keeps_its_lines_and_its_links() {
    let html = text_to_html("Hello <b>\nSee https://contoso.example/a?b=1&c=2.\n\nBye");
    assert_eq!(
        html,
        "<p>Hello &lt;b&gt;<br>See <a href=\"https://contoso.example/a?b=1&amp;c=2\" \
         rel=\"noopener noreferrer nofollow\" target=\"_blank\">https://contoso.example/a?b=1&amp;c=2</a>.</p><p>Bye</p>"
    );
}

#[test]
fn words_that_only_begin_like_a_link_stay_words() {
    let html = text_to_html("http and httpx://a, then http://b.example");
    assert!(html.starts_with("<p>http and httpx://a, then <a href=\"http://b.example\""), "{html}");
}

#[test]
fn html_becomes_readable_text() {
    let text = to_text("<p>Dear Contoso,</p><p>the <b>printer</b> is broken.</p><ul><li>one<li>two</ul>");
    assert!(text.contains("Dear Contoso,") && text.contains("the printer is broken."), "{text}");
}

#[test]
fn what_looks_like_a_handler_inside_a_quoted_value_stays_a_value() {
    let html = safe("<a href='https://contoso.example/ onclick=x'>x</a>").html;
    let (tag, attributes) = tags(&html).remove(0);
    assert_eq!((tag.as_str(), attributes[0].0.as_str()), ("a", "href"), "{html}");
    assert_eq!(attributes[0].1, "https://contoso.example/ onclick=x", "{html}");
}

/// The tags of written HTML as a browser reads them: each name with its attributes, in lower case.
/// What stands between quotes is a value, whatever it looks like.
fn tags(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(rest.len());
        let name = rest[..end].to_lowercase();
        rest = &rest[end..];
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() || rest.starts_with('>') {
                break;
            }
            let end = rest.find(|c: char| c.is_whitespace() || c == '=' || c == '>').unwrap_or(rest.len());
            let attribute = rest[..end].to_lowercase();
            rest = rest[end..].trim_start();
            let mut value = "";
            if let Some(after) = rest.strip_prefix('=') {
                let after = after.trim_start();
                (value, rest) = match after.chars().next() {
                    Some(quote @ ('"' | '\'')) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                    _ => after
                        .split_at(after.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(after.len())),
                };
            }
            attributes.push((attribute, value.to_lowercase()));
        }
        found.push((name, attributes));
    }
    found
}

proptest! {
    #[test]
    fn no_html_leaves_anything_that_acts_or_loads(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("<img src="), Just("<a href="), Just("javascript:alert(1)"), Just("https://evil.example/"),
                Just(" onclick=x"), Just("<svg>"), Just("<style>"), Just("</style>"), Just("<!--"), Just("-->"),
                Just("\""), Just("'"), Just(">"), Just("<script>"), Just("<math>"), Just("<p style="), Just("url("),
                Just("cid:logo@x"), Just("&#106;avascript:"), Just("<textarea>"), Just("<noscript>"), Just(" "),
            ],
            0..30,
        )
    ) {
        let html = safe(&pieces.concat()).html;
        for (tag, attributes) in tags(&html) {
            prop_assert!(!["script", "style", "svg", "math", "noscript", "textarea"].contains(&tag.as_str()), "{}", html);
            for (name, value) in attributes {
                prop_assert!(!name.starts_with("on"), "{}", html);
                prop_assert!(name != "src" || !value.starts_with("http"), "{}", html);
                prop_assert!(name != "href" || !value.trim().starts_with("javascript:"), "{}", html);
                prop_assert!(name != "style" || !value.contains("url("), "{}", html);
            }
        }
    }

    #[test]
    fn no_text_becomes_a_tag(text in "\\PC{0,120}") {
        let html = text_to_html(&text);
        let plain = html.replace("<p>", "").replace("</p>", "").replace("<br>", "");
        prop_assert!(plain.split('<').skip(1).all(|rest| rest.starts_with("a href=\"http") || rest.starts_with("/a>")));
    }
}
