//! The laws of a plan, and stories of what it says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn address(local: &str) -> EmailAddress {
    format!("{local}@contoso.example").parse().unwrap()
}

fn queue(name: &str, members: &[&str]) -> Queue {
    Queue {
        name: name.into(),
        alerting_timeout: SignedDuration::from_secs(60),
        members: members.iter().map(|name| address(name)).collect(),
        wrap_up_codes: vec!["Solved".into()],
    }
}

fn user(name: &str, skills: &[&str]) -> User {
    User {
        email: address(name),
        name: name.into(),
        roles: BTreeSet::from([Role::Agent]),
        skills: skills.iter().map(|skill| ((*skill).to_owned(), 3)).collect(),
        languages: BTreeMap::from([("en".to_owned(), 5)]),
        capacity: 1,
    }
}

fn route(local: &str, queue: &str) -> Route {
    Route {
        address: address(local),
        queue: queue.into(),
        skills: BTreeSet::new(),
        language: None,
        priority: 0,
        from_name: None,
    }
}

fn integration(secret: &str) -> Integration {
    Integration {
        name: "graph".into(),
        kind: IntegrationKind::MicrosoftGraph,
        token_endpoint: "https://login.example/t/oauth2/v2.0/token".into(),
        client_id: "app".into(),
        cloud: "global".into(),
        graph_url: None,
        limits: Limits::default(),
        scope_probe: vec![],
        credentials: vec![Credential {
            name: "spring".into(),
            proof: Proof::secret(secret),
            starts_at: None,
            expires_at: None,
        }],
    }
}

fn mailbox(local: &str) -> Mailbox {
    Mailbox {
        address: address(local),
        integration: "graph".into(),
        folders: BTreeSet::from(["inbox".to_owned()]),
        take_from: TakeFrom::Activation,
        after_taking: AfterTaking::MarkRead,
        opened: Opened::Take,
    }
}

fn contoso() -> Organization {
    Organization {
        name: "Contoso".into(),
        languages: vec!["en".into()],
        skills: vec![Skill { name: "invoices".into() }],
        users: vec![user("anna", &["invoices"]), user("ben", &[])],
        queues: vec![queue("Support", &["anna", "ben"]), queue("Billing", &["anna"])],
        integrations: vec![integration("secret")],
        domains: vec![Domain {
            name: "contoso.example".into(),
            kind: DomainKind::Inbound,
            integration: "graph".into(),
        }],
        mailboxes: vec![mailbox("support"), mailbox("billing")],
        routes: vec![route("billing", "Billing"), route("support", "Support")],
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(Step::to_string).collect()
}

/// Some of the things of `contoso()`, in some order, with some other values.
fn organizations() -> impl Strategy<Value = Organization> {
    let some = |count: usize| Just((0..count).collect::<Vec<_>>()).prop_shuffle();
    (some(2), some(2), some(2), some(2), 0..=2_usize, any::<bool>()).prop_map(
        |(users, queues, mailboxes, routes, kept, other)| {
            let all = contoso();
            let mut queues: Vec<Queue> = queues.into_iter().map(|i| all.queues[i].clone()).collect();
            if other {
                queues[0].members.clear();
            }
            Organization {
                users: users.into_iter().map(|i| all.users[i].clone()).collect(),
                queues,
                mailboxes: mailboxes.into_iter().take(kept).map(|i| all.mailboxes[i].clone()).collect(),
                routes: routes.into_iter().take(kept).map(|i| all.routes[i].clone()).collect(),
                ..all
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_there_already_needs_no_step(x in organizations()) {
        for prune in [false, true] {
            prop_assert_eq!(lines(&plan(&x, &x, &Uses::new(), prune)), Vec::<String>::new());
        }
    }

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_plan(x in organizations(), y in organizations(), prune in any::<bool>()) {
        let first = plan(&x, &y, &Uses::new(), prune);
        let second = plan(&x, &first.result, &Uses::new(), prune);
        prop_assert_eq!(lines(&second), Vec::<String>::new());
    }

    #[test]
    fn declared_routes_come_first_and_in_their_order(x in organizations(), y in organizations()) {
        let result = plan(&x, &y, &Uses::new(), false).result;
        prop_assert_eq!(&result.routes[..x.routes.len()], &x.routes[..]);
    }

    #[test]
    fn nothing_is_deleted_unless_asked_for(x in organizations(), y in organizations()) {
        let kept = plan(&x, &y, &Uses::new(), false);
        prop_assert!(kept.steps.iter().all(|step| step.action != Action::Delete));
        let pruned = plan(&x, &y, &Uses::new(), true);
        let deleted = pruned.steps.iter().filter(|step| step.action == Action::Delete).count();
        prop_assert_eq!(deleted + pruned.refused.len(), kept.unnamed.len());
    }
}

#[test]
fn the_first_plan_creates_everything_and_what_is_needed_comes_first() {
    let plan = plan(&contoso(), &Organization::default(), &Uses::new(), false);
    let lines = lines(&plan);
    assert_eq!(lines.first().map(String::as_str), Some("create organization Contoso"));
    assert_eq!(lines.last().map(String::as_str), Some("create route support@contoso.example"));
    assert_eq!((lines.len(), plan.unchanged), (12, 0));
}

#[test]
fn a_change_names_its_fields() {
    let mut desired = contoso();
    desired.languages.push("ja".into());
    desired.queues[0].alerting_timeout = SignedDuration::from_secs(30);
    desired.users[1].capacity = 4;
    desired.routes.swap(0, 1);
    assert_eq!(
        lines(&plan(&desired, &contoso(), &Uses::new(), false)),
        [
            "change organization Contoso (languages)",
            "change user ben@contoso.example (capacity)",
            "change queue Support (alerting_timeout)",
            "change route support@contoso.example (order)",
            "change route billing@contoso.example (order)",
        ]
    );
}

#[test]
fn another_secret_is_a_change_and_is_never_shown() {
    let mut desired = contoso();
    desired.integrations[0] = integration("another");
    let plan = plan(&desired, &contoso(), &Uses::new(), false);
    assert_eq!(lines(&plan), ["change integration graph (credentials)"]);
    assert!(!format!("{plan:?}").contains("another"));
}

#[test]
fn what_goes_together_is_deleted_users_before_used() {
    let mut desired = contoso();
    desired.queues.pop();
    desired.routes.remove(0);
    assert_eq!(plan(&desired, &contoso(), &Uses::new(), false).unnamed.len(), 2);
    assert_eq!(
        lines(&plan(&desired, &contoso(), &Uses::new(), true)),
        ["delete route billing@contoso.example", "delete queue Billing"]
    );
}

#[test]
fn what_is_in_use_is_refused_with_its_users_and_keeps_what_it_uses() {
    let mut desired = contoso();
    desired.queues.pop();
    desired.routes.remove(0);
    desired.users = vec![user("ben", &[])];
    desired.queues[0].members.remove(&address("anna"));
    desired.skills.clear();
    let billing = Named::new(Kind::Queue, "Billing");
    let uses = Uses::from([(
        billing,
        vec![Use { count: 3, what: "open conversation" }, Use { count: 0, what: "closed conversation" }],
    )]);
    let plan = plan(&desired, &contoso(), &uses, true);
    let refused: Vec<String> = plan.refused.iter().map(|refusal| refusal.to_string()).collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused[0].starts_with("skill invoices is used by user anna@contoso.example; "), "{refused:?}");
    assert!(refused[1].starts_with("user anna@contoso.example is used by queue Billing; "), "{refused:?}");
    assert!(refused[2].starts_with("queue Billing is used by 3 open conversations; "), "{refused:?}");
    assert!(lines(&plan).contains(&"delete route billing@contoso.example".to_owned()));
}

#[test]
fn a_plan_can_be_read_by_programs() {
    let step = Step {
        action: Action::Change { fields: vec!["name"] },
        thing: Named::new(Kind::User, "anna@contoso.example"),
    };
    assert_eq!(
        serde_json::to_string(&step).unwrap(),
        r#"{"action":"change","fields":["name"],"kind":"user","name":"anna@contoso.example"}"#
    );
}
