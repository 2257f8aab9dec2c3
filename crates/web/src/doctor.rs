//! The doctor's findings in words, for the command and the page.

use postroom_model::doctor::Finding;

use crate::texts::{Catalogue, Locale};

/// A language and its words for findings.
pub struct Words(crate::texts::Texts);

/// A finding in words.
pub struct Told {
    /// What was asked.
    pub check: String,
    /// Yes, no or can't tell.
    pub verdict: String,
    /// What it means, unless it is well.
    pub meaning: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Words {
    /// The words of a language, `en` or `ja`; nothing for any other.
    pub fn find(language: &str) -> Option<Self> {
        Locale::find(language).map(|locale| Self(Catalogue::load().of(locale)))
    }

    /// A finding in words.
    pub fn tell(&self, finding: &Finding) -> Told {
        let say = |key: String| self.0.say(&key);
        Told {
            check: say(format!("check-{}", finding.check)),
            verdict: say(format!("verdict-{}", finding.verdict)),
            meaning: finding.cause.map(|cause| say(format!("cause-{cause}"))),
            remedy: finding.cause.map(|cause| say(format!("cause-{cause}-do"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroom_model::doctor::{Cause, Check};

    #[test]
    fn every_finding_has_words_in_every_language() {
        for language in ["en", "ja"] {
            let words = Words::find(language).unwrap();
            for check in Check::ALL {
                for cause in Cause::ALL {
                    let told = words.tell(&Finding::no(*check, *cause));
                    let all = [Some(told.check), Some(told.verdict), told.meaning, told.remedy];
                    for text in all {
                        let text = text.unwrap();
                        assert!(
                            text.chars().count() > 1 && !text.contains("cause-"),
                            "{language} {cause}: {text}"
                        );
                    }
                }
            }
        }
        assert!(Words::find("xx").is_none());
    }
}
