//! Reasons in words, for every screen that explains.

use std::collections::BTreeMap;

use postroom_model::{SkillId, acd::WhyWaiting};

use crate::texts::Texts;

/// Why a conversation waits.
pub(crate) fn why(texts: &Texts, why: &WhyWaiting, skills: &BTreeMap<SkillId, String>) -> String {
    match why {
        WhyWaiting::QueueHasNoMembers => texts.say("why-queue_has_no_members"),
        WhyWaiting::NobodyOnQueue => texts.say("why-nobody_on_queue"),
        WhyWaiting::NobodyWithSkill { skill } => {
            let name = skills.get(skill).cloned().unwrap_or_else(|| skill.to_string());
            texts.with("why-nobody_with_skill", "skill", name)
        }
        WhyWaiting::NobodyWithLanguage { language } => {
            texts.with("why-nobody_with_language", "language", language)
        }
        WhyWaiting::NobodyWithAll => texts.say("why-nobody_with_all"),
        WhyWaiting::AllAtCapacity => texts.say("why-all_at_capacity"),
        WhyWaiting::NextInLine => texts.say("why-next_in_line"),
    }
}
