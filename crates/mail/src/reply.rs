//! An agent's text as the body of a reply, with what it answers below.

use jiff::{Timestamp, fmt::strtime};

use crate::{
    Mail,
    html::{escape, safe_html, text_to_html},
};

/// The mail that a reply answers, as it stands below it.
#[derive(Debug, Clone)]
pub struct Quoted {
    author: String,
    date: Option<Timestamp>,
    html: String,
}

impl Quoted {
    /// Quotes a mail: its HTML made safe, or its text.
    pub fn of(mail: &Mail) -> Self {
        let author = mail.from.as_ref().map_or(String::new(), |from| match &from.name {
            Some(name) => format!("{name} <{}>", from.address),
            None => from.address.clone(),
        });
        let html = match &mail.html {
            Some(html) => safe_html(html, &|_| None).html,
            None => text_to_html(mail.text.trim_end()),
        };
        Self { author, date: mail.date, html }
    }
}

/// The body of a reply as HTML.
pub fn reply_html(text: &str, quoted: Option<&Quoted>) -> String {
    let mut html = String::from("<html><body>");
    html.push_str(&text_to_html(text.trim_end()));
    if let Some(quoted) = quoted {
        html.push_str("<div style=\"border-top:1px solid #999;margin-top:1em;padding-top:.5em\"><p>");
        escape(&quoted.author, &mut html);
        if let Some(date) = quoted.date.and_then(|date| strtime::format("%Y-%m-%d %H:%M UTC", date).ok()) {
            html.push_str("<br>");
            escape(&date, &mut html);
        }
        html.push_str("</p><blockquote>");
        html.push_str(&quoted.html);
        html.push_str("</blockquote></div>");
    }
    html.push_str("</body></html>");
    html
}

/// Words that mark a reply in front of a subject.
const PREFIXES: [&str; 6] = ["re", "aw", "sv", "antw", "返信", "回复"];

/// The subject of a reply: one `Re:`, however many there were.
pub fn reply_subject(subject: &str) -> String {
    let mut rest = subject.trim();
    while let Some((word, after)) = rest.split_once([':', '：']) {
        // `Re[2]:` counts replies.
        let word = word.split('[').next().unwrap_or_default().trim().to_lowercase();
        if !PREFIXES.contains(&word.as_str()) {
            break;
        }
        rest = after.trim_start();
    }
    format!("Re: {rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn a_subject_gets_one_re() {
        for subject in ["Printer", "Re: Printer", "RE: re: AW: Printer", "Re[4]: Printer", "返信：Printer"]
        {
            assert_eq!(reply_subject(subject), "Re: Printer");
        }
        assert_eq!(reply_subject("Order 7: late"), "Re: Order 7: late");
        assert_eq!(reply_subject(""), "Re: ");
    }

    #[test]
    fn a_reply_quotes_safely_what_it_answers() {
        let mail = parse(
            b"From: \"Ann <x>\" <ann@customer.example>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0100\r\n\
              Content-Type: text/html\r\n\r\n<p>Hi<script>alert(1)</script></p>",
        );
        let html = reply_html("Dear <Ann>\n", Some(&Quoted::of(&mail)));
        assert!(html.contains("<p>Dear &lt;Ann&gt;</p>"), "{html}");
        assert!(
            html.contains("2026-03-02 09:00 UTC") && html.contains("<blockquote><p>Hi</p></blockquote>"),
            "{html}"
        );
        assert!(!html.contains("script"), "{html}");
    }
}
