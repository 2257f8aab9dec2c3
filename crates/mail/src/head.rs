//! The head of a mail while its bytes come by.
//!
//! Called by the engine's fetch: whether a mail server handed a mail over is known
//! from its first lines, before anything else of it is read.

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

const NAME: &[u8] = b"received:";

/// A mail server writes its `Received` line on top, so it stands in the first piece of any mail.
const ENOUGH: usize = 64 * 1024;

/// The first lines of a mail, as far as they came.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Takes in the next bytes of the mail; what goes beyond 64 KiB is let by.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = ENOUGH - self.bytes.len();
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// When the last mail server took it over, as that one wrote; nothing if that can't be read.
    /// <https://www.rfc-editor.org/rfc/rfc5321#section-4.4>
    pub fn received_at(&self) -> Option<Timestamp> {
        let text = String::from_utf8_lossy(&self.bytes);
        let mut lines = text.lines().take_while(|line| !line.trim().is_empty());
        let first = lines.find(|line| line.get(..NAME.len()).is_some_and(|name| is_name(name.as_bytes())))?;
        let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
        let field = folded.fold(first.to_owned(), |field, line| field + line);
        let (_, date) = field.rsplit_once(';')?;
        DateTimeParser::new().relaxed_weekday(true).parse_timestamp(date.trim()).ok()
    }

    /// Its subject as it stands there, without its folds; nothing if it has none.
    pub fn subject(&self) -> Option<String> {
        const NAME: &str = "subject:";
        let text = String::from_utf8_lossy(&self.bytes);
        let mut lines = text.lines().take_while(|line| !line.trim().is_empty());
        let is_subject =
            |line: &&str| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
        let first = lines.find(is_subject)?;
        let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
        Some(folded.fold(first[NAME.len()..].trim().to_owned(), |subject, line| subject + " " + line.trim()))
    }

    /// Whether a mail server handed this mail over. One that nobody did was made in the mailbox itself.
    /// <https://www.rfc-editor.org/rfc/rfc5321#section-4.4>
    pub fn was_received(&self) -> bool {
        self.bytes
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.trim_ascii().is_empty())
            .any(|line| line.get(..NAME.len()).is_some_and(is_name))
    }
}

fn is_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(pieces: &[&str]) -> bool {
        let mut head = Head::default();
        pieces.iter().for_each(|piece| head.push(piece.as_bytes()));
        head.was_received()
    }

    #[test]
    fn a_handed_over_mail_says_so_in_its_head_and_nowhere_else() {
        assert!(received(&[
            "Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0900\r\nSubject: S\r\n\r\nText"
        ]));
        assert!(received(&["Subject: S\nRECEI", "VED: from a\n\nText"]));
        assert!(!received(&["Subject: S\r\n\r\nReceived: a letter"]));
        assert!(!received(&["Subject: S\r\n Received: folded\r\n\r\n"]));
        assert!(!received(&["X-Received: no\r\nSubject: S\r\n\r\n"]));
        assert!(!received(&[]));
    }

    #[test]
    fn the_time_of_the_last_server_is_on_top_and_may_be_folded() {
        let at = |text: &str| {
            let mut head = Head::default();
            head.push(text.as_bytes());
            head.received_at().map(|at| at.to_string())
        };
        let folded = "Subject: S\r\nReceived: from a by b\r\n\twith SMTP (;) id 1;\r\n Mon, 2 Nov 2026 10:00:00 +0900 (JST)\r\n\
                      Received: from c by a; Mon, 2 Nov 2026 09:59:00 +0900\r\n\r\nReceived: x";
        assert_eq!(at(folded).as_deref(), Some("2026-11-02T01:00:00Z"));
        // Some servers err in the day of the week.
        assert!(at("Received: from a; Tue, 2 Nov 2026 10:00:00 +0900\n\n").is_some());
        for odd in [
            "Received: from a; soon\n\n",
            "Received: from a\n\n",
            "Subject: S\n\nReceived: from a; Mon, 2 Nov 2026 10:00:00 +0900",
            "",
        ] {
            assert_eq!(at(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_subject_is_read_from_the_head_over_its_folds() {
        let subject = |text: &str| {
            let mut head = Head::default();
            head.push(text.as_bytes());
            head.subject()
        };
        assert_eq!(subject("From: a\r\nSUBJECT: one\r\n\ttwo\r\nTo: b\r\n\r\n").as_deref(), Some("one two"));
        assert_eq!(subject("From: a\r\n\r\nSubject: in the text"), None);
    }

    #[test]
    fn no_more_is_kept_than_is_needed() {
        let mut head = Head::default();
        head.push(b"Subject: long\r\n");
        for _ in 0..100 {
            head.push(&[b'a'; 1000]);
        }
        assert_eq!(head.bytes.len(), ENOUGH);
    }
}
