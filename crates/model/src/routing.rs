//! Which inbound route takes a mail: a pure choice over the declared routes.
//!
//! Candidates are our addresses among To and Cc, else among the delivery
//! headers' addresses, else the mailbox's own. Of several, the first by declared
//! order wins and the others are named, so that a trace can tell both.

use crate::{EmailAddress, QueueId, RouteId, SkillId, ledger::Reason};

/// A declared route, as the choice needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// The route.
    pub id: RouteId,
    /// The address it answers for.
    pub address: EmailAddress,
    /// Where its mail waits.
    pub queue: QueueId,
    /// Skills that an agent must have for it.
    pub skills: Vec<SkillId>,
    /// Language that an agent must speak for it (BCP 47, lower case).
    pub language: Option<String>,
    /// Higher is served first; 0 is normal.
    pub priority: i32,
    /// The display name under which it answers.
    pub from_name: Option<String>,
}

/// The addresses a mail came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients {
    /// To and Cc, in that order.
    pub named: Vec<EmailAddress>,
    /// Addresses of delivery headers (Delivered-To and its kin).
    pub delivery: Vec<EmailAddress>,
    /// The address of the mailbox it lay in.
    pub mailbox: EmailAddress,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteChoice<'a> {
    /// The winning route; absent if no address it came to has one.
    pub chosen: Option<&'a RouteRule>,
    /// How the candidates were found.
    pub reason: Reason,
    /// Candidates that did not win, in declared order.
    pub others: Vec<&'a RouteRule>,
}

/// Chooses the route of a mail among `rules`, which stand in declared order.
pub fn choose<'a>(rules: &'a [RouteRule], recipients: &Recipients) -> RouteChoice<'a> {
    let matching = |addresses: &[EmailAddress]| -> Vec<&'a RouteRule> {
        rules.iter().filter(|rule| addresses.contains(&rule.address)).collect()
    };
    let by_header = [
        (Reason::RouteByRecipient, recipients.named.as_slice()),
        (Reason::RouteByDelivery, recipients.delivery.as_slice()),
        (Reason::RouteByMailbox, std::slice::from_ref(&recipients.mailbox)),
    ];
    for (reason, addresses) in by_header {
        let mut candidates = matching(addresses).into_iter();
        if let Some(chosen) = candidates.next() {
            return RouteChoice { chosen: Some(chosen), reason, others: candidates.collect() };
        }
    }
    RouteChoice { chosen: None, reason: Reason::NoRoute, others: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn rule(n: u128, address: &str) -> RouteRule {
        RouteRule {
            id: RouteId::from_uuid(Uuid::from_u128(n)),
            address: address.parse().unwrap(),
            queue: QueueId::from_uuid(Uuid::from_u128(n)),
            skills: vec![],
            language: None,
            priority: 0,
            from_name: None,
        }
    }

    fn to(named: &[&str], delivery: &[&str], mailbox: &str) -> Recipients {
        let read = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        Recipients { named: read(named), delivery: read(delivery), mailbox: mailbox.parse().unwrap() }
    }

    fn chosen(choice: &RouteChoice<'_>) -> Option<String> {
        choice.chosen.map(|r| r.address.to_string())
    }

    #[test]
    fn the_first_declared_candidate_wins_and_the_others_are_named() {
        let rules = [rule(1, "billing@c.example"), rule(2, "support@c.example")];
        let choice =
            choose(&rules, &to(&["support@c.example", "billing@c.example"], &[], "support@c.example"));
        assert_eq!(chosen(&choice).as_deref(), Some("billing@c.example"));
        assert_eq!(choice.others, [&rules[1]]);
        assert_eq!(choice.reason, Reason::RouteByRecipient);
    }

    #[test]
    fn a_mail_that_names_nobody_of_us_goes_by_delivery_header_then_by_mailbox() {
        let rules = [rule(1, "billing@c.example"), rule(2, "support@c.example")];
        let choice = choose(&rules, &to(&["x@y.example"], &["billing@c.example"], "support@c.example"));
        assert_eq!(
            (chosen(&choice).as_deref(), choice.reason),
            (Some("billing@c.example"), Reason::RouteByDelivery)
        );
        let choice = choose(&rules, &to(&["x@y.example"], &[], "support@c.example"));
        assert_eq!(
            (chosen(&choice).as_deref(), choice.reason),
            (Some("support@c.example"), Reason::RouteByMailbox)
        );
    }

    #[test]
    fn without_a_route_nothing_is_guessed() {
        let choice = choose(&[], &to(&["a@b.example"], &[], "a@b.example"));
        assert_eq!((choice.chosen, choice.reason), (None, Reason::NoRoute));
    }
}
