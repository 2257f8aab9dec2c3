//! The head of a mail while its bytes come by.
//!
//! Called by the engine's fetch: whether a mail server handed a mail over is known
//! from its first lines, before anything else of it is read.

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

    /// Whether a mail server handed this mail over. One that nobody did was made in the mailbox itself.
    /// <https://www.rfc-editor.org/rfc/rfc5321#section-4.4>
    pub fn was_received(&self) -> bool {
        const NAME: &[u8] = b"received:";
        self.bytes
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.trim_ascii().is_empty())
            .any(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))
    }
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
    fn no_more_is_kept_than_is_needed() {
        let mut head = Head::default();
        head.push(b"Subject: long\r\n");
        for _ in 0..100 {
            head.push(&[b'a'; 1000]);
        }
        assert_eq!(head.bytes.len(), ENOUGH);
    }
}
