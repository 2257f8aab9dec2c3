//! Texts whose character set is missing or a lie, above all Japanese ones.
//!
//! Called where the ordinary reading gave replacement characters or left escape
//! sequences standing. Source of the encoded words:
//! <https://www.rfc-editor.org/rfc/rfc2047>.

use encoding_rs::{EUC_JP, Encoding, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_1252};
use mail_parser::decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode};

/// Whether a text that was read holds signs of a wrong character set.
pub(crate) fn looks_wrong(text: &str) -> bool {
    text.contains(['\u{fffd}', '\u{1b}'])
}

/// Whether one reading holds fewer signs of a wrong character set than another.
pub(crate) fn is_better(one: &str, other: &str) -> bool {
    let faults = |text: &str| text.matches(['\u{fffd}', '\u{1b}']).count() + text.matches("=?").count();
    faults(one) < faults(other)
}

/// The bytes as text, in the first character set that they fit without a fault.
pub(crate) fn guess(bytes: &[u8]) -> String {
    let candidates: &[&'static Encoding] =
        if bytes.contains(&0x1b) { &[ISO_2022_JP, UTF_8] } else { &[UTF_8, EUC_JP, SHIFT_JIS, WINDOWS_1252] };
    let fits =
        candidates.iter().find_map(|set| set.decode_without_bom_handling_and_without_replacement(bytes));
    fits.unwrap_or_else(|| String::from_utf8_lossy(bytes)).into_owned()
}

/// A header's value, read by hand: unfolded, neighbouring encoded words of one character set
/// joined before they are decoded, everything else guessed.
pub(crate) fn header(raw: &[u8]) -> String {
    let text = guess(raw);
    let unfolded = text.replace(['\r', '\n'], "");
    let mut out = String::new();
    let mut held: Option<(String, Vec<u8>)> = None;
    let mut rest = unfolded.trim();
    while !rest.is_empty() {
        if let Some((word, after)) = encoded_word(rest) {
            match &mut held {
                Some((set, bytes)) if set.eq_ignore_ascii_case(&word.0) => bytes.extend(word.1),
                _ => {
                    flush(&mut out, held.take());
                    held = Some(word);
                }
            }
            // White space between two encoded words is not text.
            let next = after.trim_start();
            rest = if next.starts_with("=?") { next } else { after };
            continue;
        }
        flush(&mut out, held.take());
        let step = rest.char_indices().skip(1).find(|(at, _)| rest[*at..].starts_with("=?"));
        let (plain, after) = rest.split_at(step.map_or(rest.len(), |(at, _)| at));
        out.push_str(plain);
        rest = after;
    }
    flush(&mut out, held);
    out
}

fn flush(out: &mut String, held: Option<(String, Vec<u8>)>) {
    let Some((set, bytes)) = held else { return };
    let set = set.split('*').next().unwrap_or_default();
    let declared = Encoding::for_label(set.as_bytes())
        .and_then(|set| set.decode_without_bom_handling_and_without_replacement(&bytes));
    match declared {
        Some(text) => out.push_str(&text),
        None => out.push_str(&guess(&bytes)),
    }
}

/// An encoded word at the beginning: its character set, its bytes, and what follows.
fn encoded_word(text: &str) -> Option<((String, Vec<u8>), &str)> {
    let (set, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (kind, rest) = rest.split_once('?')?;
    let (content, after) = rest.split_once("?=")?;
    if set.contains(char::is_whitespace) || kind.len() != 1 {
        return None;
    }
    let bytes = match kind {
        "B" | "b" => base64_decode(content.as_bytes())?,
        "Q" | "q" => quoted_printable_decode(content.replace('_', " ").as_bytes())?,
        _ => return None,
    };
    Some(((set.to_owned(), bytes), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_split_over_two_encoded_words_is_put_together() {
        let bytes = "請求書".as_bytes();
        let word = |part: &[u8]| {
            let quoted: String = part.iter().map(|byte| format!("={byte:02X}")).collect();
            format!("=?utf-8?Q?{quoted}?=")
        };
        assert_eq!(
            header(format!("Re: {}\r\n {}", word(&bytes[..4]), word(&bytes[4..])).as_bytes()),
            "Re: 請求書"
        );
    }

    #[test]
    fn raw_japanese_is_recognised() {
        let text = "お世話になっております。請求書の件";
        for set in [SHIFT_JIS, EUC_JP, ISO_2022_JP, UTF_8] {
            let (bytes, _, _) = set.encode(text);
            assert_eq!(guess(&bytes), text, "{}", set.name());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_text(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            guess(&bytes);
            header(&bytes);
        }

        #[test]
        fn plain_text_stays_what_it_is(text in "[a-zA-Z0-9 ,.]{0,80}") {
            prop_assert_eq!(header(text.as_bytes()), text.trim());
        }
    }
}
