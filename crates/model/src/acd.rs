//! Automatic distribution: which waiting conversation is shown to which agent,
//! and, when none is, why a conversation still waits.
//!
//! Pure and total: the same snapshot always gives the same offers. The engine
//! takes the snapshot and commits the offers with guards, so a lost race is a
//! no-op and the next round decides again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{ConversationId, QueueId, SkillId, Timestamp, UserId};

/// A conversation that waits in a queue.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its queue.
    pub queue: QueueId,
    /// Higher is served first.
    pub priority: i32,
    /// When the mail that waits arrived; never changed by transfer or return.
    pub arrived: Timestamp,
    /// Skills that the agent must have.
    pub skills: Vec<SkillId>,
    /// Language that the agent must speak.
    pub language: Option<String>,
    /// Who handled the conversation last: served by the same agent if possible.
    pub last_agent: Option<UserId>,
}

/// An agent, as distribution sees one.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Who.
    pub user: UserId,
    /// Whether the agent is on queue and responding.
    pub on_queue: bool,
    /// The queues of which the agent is a member.
    pub queues: BTreeSet<QueueId>,
    /// Skills with proficiency, 0 to 5.
    pub skills: BTreeMap<SkillId, u8>,
    /// Languages with proficiency, 0 to 5.
    pub languages: BTreeMap<String, u8>,
    /// How many conversations the agent may have at once.
    pub capacity: u32,
    /// How many the agent has, alerting ones included.
    pub load: u32,
    /// When the agent was last given something; the longest idle is first.
    pub last_offered: Option<Timestamp>,
}

/// Show this conversation to this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// What is offered.
    pub conversation: ConversationId,
    /// To whom.
    pub user: UserId,
}

/// Why a conversation still waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum WhyWaiting {
    /// Its queue has no members.
    QueueHasNoMembers,
    /// No member of its queue is on queue.
    NobodyOnQueue,
    /// Nobody on queue has this skill.
    NobodyWithSkill {
        /// The first missing skill.
        skill: SkillId,
    },
    /// Nobody on queue speaks this language.
    NobodyWithLanguage {
        /// The language.
        language: String,
    },
    /// Nobody on queue has all that it asks for, though each thing alone is there.
    NobodyWithAll,
    /// All who could take it have as much as they may.
    AllAtCapacity,
    /// Somebody could take it: it is offered in the next round.
    NextInLine,
}

impl Agent {
    fn serves(&self, w: &Waiting) -> bool {
        self.on_queue && self.queues.contains(&w.queue)
    }

    fn qualifies(&self, w: &Waiting) -> bool {
        w.skills.iter().all(|s| self.skills.contains_key(s))
            && w.language.as_ref().is_none_or(|l| self.languages.contains_key(l))
    }

    fn has_room(&self) -> bool {
        self.load < self.capacity
    }

    fn proficiency(&self, w: &Waiting) -> u32 {
        let skills = w.skills.iter().filter_map(|s| self.skills.get(s));
        let language = w.language.as_ref().and_then(|l| self.languages.get(l));
        skills.chain(language).map(|p| u32::from(*p)).sum()
    }
}

/// Offers as many waiting conversations as the agents can take: by priority,
/// then by arrival; each to the last agent if possible, else to the most
/// proficient, then the least loaded, then the longest idle.
pub fn assign(waiting: &[Waiting], agents: &[Agent]) -> Vec<Assignment> {
    let mut agents = agents.to_vec();
    let mut order: Vec<&Waiting> = waiting.iter().collect();
    order.sort_by_key(|w| (Reverse(w.priority), w.arrived, w.conversation));
    let mut assignments = Vec::new();
    for w in order {
        let best =
            agents.iter_mut().filter(|a| a.serves(w) && a.qualifies(w) && a.has_room()).min_by_key(|a| {
                (w.last_agent != Some(a.user), Reverse(a.proficiency(w)), a.load, a.last_offered, a.user)
            });
        if let Some(agent) = best {
            agent.load += 1;
            assignments.push(Assignment { conversation: w.conversation, user: agent.user });
        }
    }
    assignments
}

/// Says why one conversation waits.
pub fn why_waiting(w: &Waiting, agents: &[Agent]) -> WhyWaiting {
    if !agents.iter().any(|a| a.queues.contains(&w.queue)) {
        return WhyWaiting::QueueHasNoMembers;
    }
    let serving: Vec<&Agent> = agents.iter().filter(|a| a.serves(w)).collect();
    if serving.is_empty() {
        return WhyWaiting::NobodyOnQueue;
    }
    let qualified: Vec<&&Agent> = serving.iter().filter(|a| a.qualifies(w)).collect();
    if qualified.is_empty() {
        if let Some(skill) = w.skills.iter().find(|s| !serving.iter().any(|a| a.skills.contains_key(s))) {
            return WhyWaiting::NobodyWithSkill { skill: *skill };
        }
        return match &w.language {
            Some(language) if !serving.iter().any(|a| a.languages.contains_key(language)) => {
                WhyWaiting::NobodyWithLanguage { language: language.clone() }
            }
            _ => WhyWaiting::NobodyWithAll,
        };
    }
    if qualified.iter().any(|a| a.has_room()) { WhyWaiting::NextInLine } else { WhyWaiting::AllAtCapacity }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn uuid(n: u8) -> Uuid {
        Uuid::from_u128(u128::from(n))
    }

    fn agent(n: u8, skills: &[(u8, u8)], capacity: u32, load: u32) -> Agent {
        Agent {
            user: UserId::from_uuid(uuid(n)),
            on_queue: true,
            queues: [QueueId::from_uuid(uuid(0))].into(),
            skills: skills.iter().map(|(s, p)| (SkillId::from_uuid(uuid(*s)), *p)).collect(),
            languages: BTreeMap::new(),
            capacity,
            load,
            last_offered: None,
        }
    }

    fn waiting(n: u8, skills: &[u8], priority: i32) -> Waiting {
        Waiting {
            conversation: ConversationId::from_uuid(uuid(n)),
            queue: QueueId::from_uuid(uuid(0)),
            priority,
            arrived: Timestamp::UNIX_EPOCH,
            skills: skills.iter().map(|s| SkillId::from_uuid(uuid(*s))).collect(),
            language: None,
            last_agent: None,
        }
    }

    #[test]
    fn the_best_of_those_with_the_skill_is_asked() {
        let agents = [agent(1, &[(9, 2)], 3, 0), agent(2, &[(9, 5)], 3, 1), agent(3, &[], 3, 0)];
        assert_eq!(assign(&[waiting(1, &[9], 0)], &agents)[0].user, agents[1].user);
    }

    #[test]
    fn the_last_agent_is_asked_before_a_better_one() {
        let agents = [agent(1, &[(9, 2)], 3, 0), agent(2, &[(9, 5)], 3, 0)];
        let again = Waiting { last_agent: Some(agents[0].user), ..waiting(1, &[9], 0) };
        assert_eq!(assign(&[again], &agents)[0].user, agents[0].user);
    }

    #[test]
    fn higher_priority_is_served_before_older() {
        let offers = assign(&[waiting(1, &[], 0), waiting(2, &[], 5)], &[agent(1, &[], 1, 0)]);
        assert_eq!(
            offers,
            [Assignment {
                conversation: ConversationId::from_uuid(uuid(2)),
                user: UserId::from_uuid(uuid(1)),
            }]
        );
    }

    #[test]
    fn waiting_is_explained() {
        let w = waiting(1, &[9], 0);
        assert_eq!(why_waiting(&w, &[]), WhyWaiting::QueueHasNoMembers);
        let absent = Agent { on_queue: false, ..agent(1, &[(9, 1)], 1, 0) };
        assert_eq!(why_waiting(&w, &[absent]), WhyWaiting::NobodyOnQueue);
        let skill = SkillId::from_uuid(uuid(9));
        assert_eq!(why_waiting(&w, &[agent(1, &[], 1, 0)]), WhyWaiting::NobodyWithSkill { skill });
        assert_eq!(why_waiting(&w, &[agent(1, &[(9, 1)], 1, 1)]), WhyWaiting::AllAtCapacity);
        assert_eq!(why_waiting(&w, &[agent(1, &[(9, 1)], 1, 0)]), WhyWaiting::NextInLine);
        let japanese = Waiting { language: Some("ja".into()), ..waiting(1, &[], 0) };
        let language = "ja".to_owned();
        assert_eq!(
            why_waiting(&japanese, &[agent(1, &[], 1, 0)]),
            WhyWaiting::NobodyWithLanguage { language }
        );
    }

    proptest! {
        #[test]
        fn nobody_is_over_capacity_nothing_is_offered_twice_and_skills_are_kept(
            agents in prop::collection::vec((0_u32..4, 0_u32..4, prop::collection::vec(0_u8..3, 0..3)), 0..6),
            mails in prop::collection::vec((prop::collection::vec(0_u8..3, 0..3), -1_i32..2), 0..12),
        ) {
            let agents: Vec<Agent> = agents.iter().enumerate().map(|(i, (capacity, load, skills))| {
                let skills: Vec<_> = skills.iter().map(|s| (*s, *s)).collect();
                agent(i as u8, &skills, *capacity, *load)
            }).collect();
            let mails: Vec<Waiting> =
                mails.iter().enumerate().map(|(i, (skills, priority))| waiting(i as u8, skills, *priority)).collect();
            let offers = assign(&mails, &agents);
            for a in &agents {
                let given: Vec<_> = offers.iter().filter(|o| o.user == a.user).collect();
                prop_assert!(given.is_empty() || a.load + given.len() as u32 <= a.capacity);
                for offer in given {
                    let mail = mails.iter().find(|w| w.conversation == offer.conversation).unwrap();
                    prop_assert!(mail.skills.iter().all(|s| a.skills.contains_key(s)));
                }
            }
            let offered: BTreeSet<_> = offers.iter().map(|o| o.conversation).collect();
            prop_assert_eq!(offered.len(), offers.len());
            for w in mails.iter().filter(|w| !offered.contains(&w.conversation)) {
                // Whoever could still take it has been filled up in this round.
                let room = agents.iter().any(|a| {
                    let given = offers.iter().filter(|o| o.user == a.user).count() as u32;
                    a.qualifies(w) && a.load + given < a.capacity
                });
                prop_assert!(!room);
            }
        }
    }
}
