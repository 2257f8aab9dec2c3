//! The doctor's findings in words, for the command and the page.

use postroom_model::{alerts::Alert, doctor::Finding};

use crate::texts::{Catalogue, Locale, Texts};

/// A language and its words for findings.
pub struct Words(Texts);

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

    /// An alert in words: what it is, and what to do.
    pub fn tell_alert(&self, alert: &Alert) -> String {
        alert_text(&self.0, alert)
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

/// An alert in words: what it is, and what to do.
pub(crate) fn alert_text(texts: &Texts, alert: &Alert) -> String {
    let at = alert.at.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
    let days = alert.days.unwrap_or_default();
    let about: &dyn std::fmt::Display = &alert.about;
    texts.tell(&format!("alert-{}", alert.kind), &[("about", about), ("at", &at), ("days", &days)])
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
