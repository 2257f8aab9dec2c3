//! Stories of the organisation in its tables, on both engines.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use postroom_model::{
    Entropy, Timestamp,
    credential::{CredentialKind, CredentialOrigin, Proof},
    mailbox::{AfterTaking, Opened, TakeFrom},
    organization::{
        Credential, Domain, DomainKind, Integration, IntegrationKind, Limits, Mailbox, Plan, Queue, Route,
        Skill, Step, User, Uses, list_unnamed, plan,
    },
    user::{Role, RoutingStatus},
};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::*;
use crate::{
    Db, DbError, MIGRATIONS, Stmt, Store, args,
    blobs::Blobs,
    credentials::{self, Preference},
    folders, integrations, mailboxes, on_both_engines, routes,
    seal::Keys,
    users,
};

async fn store_on(db: Db) -> Store {
    db.migrate(MIGRATIONS).await.unwrap();
    let mut count = 0_u64;
    let entropy = Entropy::new(move |buffer| {
        for chunk in buffer.chunks_mut(8) {
            count += 1;
            let bytes = count.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    });
    Store::new(db, Blobs::memory(), Keys::generate(&entropy), entropy)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn contoso() -> Organization {
    let user = |local: &str, skills: &[(&str, u8)]| User {
        email: format!("{local}@contoso.example").parse().unwrap(),
        name: format!("Agent {local}"),
        roles: BTreeSet::from([Role::Agent, Role::Supervisor]),
        skills: skills.iter().map(|(name, rating)| ((*name).to_owned(), *rating)).collect(),
        languages: BTreeMap::from([("en".to_owned(), 5), ("ja".to_owned(), 0)]),
        capacity: 3,
    };
    let queue = |name: &str, members: &[&str]| Queue {
        name: name.into(),
        alerting_timeout: SignedDuration::from_secs(45),
        members: members.iter().map(|local| format!("{local}@contoso.example").parse().unwrap()).collect(),
        wrap_up_codes: vec!["Solved".into(), "Escalated".into()],
    };
    let mailbox = |local: &str, take_from| Mailbox {
        address: format!("{local}@contoso.example").parse().unwrap(),
        integration: "graph".into(),
        folders: BTreeSet::from(["archive".to_owned(), "inbox".to_owned()]),
        take_from,
        after_taking: AfterTaking::MarkRead,
        opened: Opened::Take,
    };
    let route = |local: &str, queue: &str, skills: &[&str]| Route {
        address: format!("{local}@contoso.example").parse().unwrap(),
        queue: queue.into(),
        skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
        language: Some("en".into()),
        priority: -5,
        from_name: None,
    };
    let credential = |name: &str, expires_at| Credential {
        name: name.into(),
        proof: Proof::secret(format!("secret of {name}")),
        starts_at: None,
        expires_at,
    };
    Organization {
        name: "Contoso".into(),
        languages: vec!["ja".into(), "en".into()],
        skills: vec![Skill { name: "hardware".into() }, Skill { name: "invoices".into() }],
        users: vec![user("zoe", &[("invoices", 5), ("hardware", 0)]), user("anna", &[])],
        queues: vec![queue("Support", &["zoe", "anna"]), queue("Billing", &["zoe"])],
        integrations: vec![Integration {
            name: "graph".into(),
            kind: IntegrationKind::MicrosoftGraph,
            token_endpoint: "https://login.example/t/oauth2/v2.0/token".into(),
            client_id: "app".into(),
            cloud: "global".into(),
            graph_url: Some("http://127.0.0.1:1".into()),
            limits: Limits { requests: 500, ..Limits::default() },
            scope_probe: ["boss@contoso.example", "hr@contoso.example"]
                .map(|text| text.parse().unwrap())
                .into(),
            credentials: vec![credential("spring", Some(at(0))), credential("autumn", None)],
        }],
        domains: vec![Domain {
            name: "contoso.example".into(),
            kind: DomainKind::Inbound,
            integration: "graph".into(),
        }],
        mailboxes: vec![mailbox("support", TakeFrom::Activation), mailbox("billing", TakeFrom::Date(at(5)))],
        routes: vec![route("support", "Support", &[]), route("billing", "Billing", &["invoices"])],
    }
}

/// Plans with what the store knows, commits, and gives the plan.
async fn apply(store: &Store, desired: &Organization, prune: bool) -> Plan {
    let present = find(store).await.unwrap();
    let unnamed = list_unnamed(desired, &present.organization);
    let uses = if prune { list_uses(&store.db, &present, &unnamed).await.unwrap() } else { Uses::new() };
    let plan = plan(desired, &present.organization, &uses, prune);
    if plan.refused.is_empty() {
        store.commit(write(store, &present, &plan, at(10)).unwrap()).await.unwrap();
    }
    plan
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(Step::to_string).collect()
}

/// How many entries the feed has. Not [`feed::find_last`]: on PostgreSQL that hides what is newer than any
/// open transaction of the cluster, and the tests beside this one have some.
async fn count_feed(store: &Store) -> i64 {
    let row = store.db.query_opt(Stmt::new("SELECT count(*) FROM feed", args![])).await.unwrap().unwrap();
    row.columns().next().unwrap()
}

/// A conversation in a queue, as far as the tables ask for it.
async fn insert_conversation(store: &Store, present: &Present, queue: &str, state: &'static str) {
    let queue = present.id(Kind::Queue, queue).unwrap();
    let mailbox = present.id(Kind::Mailbox, "support@contoso.example").unwrap();
    let sql = "INSERT INTO conversations (id, queue_id, mailbox_id, state, priority, subject, arrived_at, \
               opened_at, unread) VALUES ($1, $2, $3, $4, 0, '', 0, 0, 0)";
    let id: Uuid = store.entropy.uuid(at(0));
    store.db.apply(vec![Stmt::new(sql, args![id, queue, mailbox, state])]).await.unwrap();
}

on_both_engines! {
    async fn what_was_written_is_read_back_whole(db: Db) {
        let store = store_on(db).await;
        assert_eq!(find(&store).await.unwrap().organization, Organization::default());
        let plan = apply(&store, &contoso(), false).await;
        assert_eq!(plan.steps.len(), 13);
        assert_eq!(find(&store).await.unwrap().organization, contoso());
        // What others read is the same thing.
        assert_eq!(users::list(&store.db).await.unwrap()[0].email, "zoe@contoso.example");
        assert_eq!(routes::list(&store.db).await.unwrap()[1].skills.len(), 1);
        assert_eq!(mailboxes::list(&store.db).await.unwrap()[0].take_from, None);
    }

    async fn the_same_organisation_again_writes_nothing(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let heard = count_feed(&store).await;
        let plan = apply(&store, &contoso(), true).await;
        assert!(plan.steps.is_empty(), "{:?}", lines(&plan));
        assert_eq!(count_feed(&store).await, heard);
    }

    async fn a_change_keeps_ids_and_what_people_and_mailboxes_became(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let before = find(&store).await.unwrap();
        let anna = users::find_by_email(&store.db, "anna@contoso.example").await.unwrap().unwrap();
        let support = mailboxes::list(&store.db).await.unwrap()[0].clone();
        store.db.apply(vec![
            users::record_password(anna.id, "hash"),
            users::record_locale(anna.id, "ja"),
            users::record_routing_status(anna.id, RoutingStatus::OnQueue, at(20)),
            mailboxes::record_activated(support.id, at(21)),
        ]).await.unwrap();

        let mut desired = contoso();
        desired.users[1].name = "Anna".into();
        desired.users[1].roles = BTreeSet::from([Role::Admin]);
        desired.queues[0].members.clear();
        desired.queues[0].wrap_up_codes = vec!["Done".into()];
        desired.mailboxes[0].after_taking = AfterTaking::Nothing;
        desired.routes[1].language = None;
        let plan = apply(&store, &desired, false).await;
        assert_eq!(lines(&plan), [
            "change user anna@contoso.example (name, roles)",
            "change queue Support (members, wrap_up_codes)",
            "change mailbox support@contoso.example (after_taking)",
            "change route billing@contoso.example (language)",
        ]);
        let after = find(&store).await.unwrap();
        assert_eq!((after.organization, after.places), (desired, before.places));
        let anna = users::find(&store.db, anna.id).await.unwrap().unwrap();
        assert_eq!((anna.locale.as_deref(), anna.routing_status), (Some("ja"), RoutingStatus::OnQueue));
        let password = users::find_password_hash(&store.db, "anna@contoso.example").await.unwrap();
        assert_eq!(password, Some((anna.id, "hash".into())));
        assert_eq!(mailboxes::list(&store.db).await.unwrap()[0].activated_at, Some(at(21)));
    }

    async fn the_order_of_the_file_is_the_order_of_the_routes(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let mut desired = contoso();
        let mut first = desired.routes[1].clone();
        first.address = "first@contoso.example".parse().unwrap();
        desired.routes.swap(0, 1);
        desired.routes.insert(0, first);
        apply(&store, &desired, false).await;
        let order: Vec<String> =
            routes::list(&store.db).await.unwrap().iter().map(|route| route.address.to_string()).collect();
        assert_eq!(order, ["first@contoso.example", "billing@contoso.example", "support@contoso.example"]);
    }

    async fn another_secret_is_sealed_anew(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let mut desired = contoso();
        desired.integrations[0].credentials[1].proof = Proof::secret("rotated");
        assert_eq!(lines(&apply(&store, &desired, false).await), ["change integration graph (credentials)"]);
        let opened = integrations::list(&store).await.unwrap();
        let secrets: Vec<&str> =
            opened[0].credentials.iter().map(|credential| credential.proof.text.expose_secret()).collect();
        assert_eq!(secrets, ["secret of spring", "rotated"]);
    }

    async fn the_file_and_commands_each_keep_credentials_of_their_own(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let id = integrations::list(&store).await.unwrap()[0].id;
        let names = async || -> Vec<String> {
            integrations::list(&store).await.unwrap().remove(0).credentials.into_iter().map(|c| c.name).collect()
        };
        for (name, preference) in [("last", Preference::Last), ("first", Preference::First), ("later", Preference::Last)] {
            let proof = Proof { kind: CredentialKind::FederatedTokenFile, text: "/run/token".into() };
            let credential =
                Credential { name: name.into(), proof, starts_at: Some(at(1)), expires_at: Some(at(2)) };
            let position = credentials::find_position(&store.db, id, preference).await.unwrap();
            let insert =
                || credentials::insert(&store, id, &credential, CredentialOrigin::Command, position).unwrap();
            store.db.apply(vec![insert()]).await.unwrap();
            let twice = store.db.apply(vec![insert()]).await;
            assert!(matches!(twice, Err(DbError::Unique { .. })), "{twice:?}");
        }
        assert_eq!(names().await, ["first", "spring", "autumn", "last", "later"]);
        let mut desired = contoso();
        let more = Credential { name: "winter".into(), ..desired.integrations[0].credentials[0].clone() };
        desired.integrations[0].credentials.insert(0, more);
        apply(&store, &desired, true).await;
        assert_eq!(names().await, ["first", "winter", "spring", "autumn", "last", "later"]);
        assert_eq!(lines(&apply(&store, &desired, true).await), Vec::<String>::new());
        let opened = integrations::list(&store).await.unwrap().remove(0).credentials.remove(0);
        assert_eq!(
            (opened.proof.kind, opened.proof.text.expose_secret(), opened.starts_at, opened.expires_at),
            (CredentialKind::FederatedTokenFile, "/run/token", Some(at(1)), Some(at(2)))
        );
        assert_eq!(credentials::list_of_commands(&store.db).await.unwrap().len(), 3);
        store.db.apply(vec![credentials::delete(id, "last")]).await.unwrap();
        assert_eq!(names().await, ["first", "winter", "spring", "autumn", "later"]);
    }

    async fn an_earlier_date_starts_the_delta_track_anew_and_folders_that_stay_keep_theirs(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let [support, billing] = &mailboxes::list(&store.db).await.unwrap()[..] else { panic!("two mailboxes") };
        for mailbox in [support, billing] {
            let folder = folders::list_of_mailbox(&store.db, mailbox.id).await.unwrap().remove(1);
            let round = folders::record_round(folder.id, None, "link", 0, at(0), at(1));
            store.db.apply(vec![round, folders::record_graph_id(folder.id, "graph id")]).await.unwrap();
        }
        let mut desired = contoso();
        desired.mailboxes[0].folders.remove("archive");
        desired.mailboxes[1].take_from = TakeFrom::Date(at(1));
        apply(&store, &desired, false).await;
        let kept = folders::list_of_mailbox(&store.db, support.id).await.unwrap();
        assert_eq!((kept.len(), kept[0].delta_link.as_deref()), (1, Some("link")));
        let anew = folders::list_of_mailbox(&store.db, billing.id).await.unwrap();
        assert_eq!((anew[1].delta_link.as_deref(), anew[1].graph_id.as_deref()), (None, Some("graph id")));
    }

    async fn only_prune_deletes_and_it_deletes_everything_that_is_not_named(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let small = Organization { name: "Contoso".into(), languages: contoso().languages, ..Organization::default() };
        let kept = apply(&store, &small, false).await;
        assert_eq!((kept.steps.len(), kept.unnamed.len()), (0, 12));
        assert_eq!(find(&store).await.unwrap().organization, contoso());
        let pruned = apply(&store, &small, true).await;
        assert_eq!(pruned.steps.len(), 12);
        assert_eq!(find(&store).await.unwrap().organization, small);
    }

    async fn what_is_in_use_stays_and_its_users_are_named(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let present = find(&store).await.unwrap();
        for state in ["waiting", "connected", "closed"] {
            insert_conversation(&store, &present, "Billing", state).await;
        }
        let mut desired = contoso();
        desired.queues.truncate(1);
        desired.routes.truncate(1);
        desired.mailboxes.clear();
        let refused: Vec<String> =
            apply(&store, &desired, true).await.refused.iter().map(ToString::to_string).collect();
        assert_eq!(refused, [
            "queue Billing is used by 2 open conversations, 1 closed conversation; \
             keep it in the file, or take those away first",
            "mailbox support@contoso.example is used by 3 conversations; \
             keep it in the file, or take those away first",
        ]);
        assert_eq!(find(&store).await.unwrap().organization, contoso());
    }

    async fn work_that_comes_in_after_the_plan_loses_the_deletion(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        let present = find(&store).await.unwrap();
        let mut desired = contoso();
        desired.queues.truncate(1);
        desired.routes.truncate(1);
        let plan = plan(&desired, &present.organization, &Uses::new(), true);
        insert_conversation(&store, &present, "Billing", "waiting").await;
        let lost = store.commit(write(&store, &present, &plan, at(11)).unwrap()).await;
        assert!(matches!(lost, Err(DbError::Lost)), "{lost:?}");
        assert_eq!(find(&store).await.unwrap().organization, contoso());
    }

    async fn the_feed_tells_of_a_change_in_the_same_commit(db: Db) {
        let store = store_on(db).await;
        apply(&store, &contoso(), false).await;
        // Read past the feed's own rule of waiting for older transactions, which other tests keep open.
        let rows = store.db.query(Stmt::new("SELECT topic FROM feed", args![])).await.unwrap();
        let topics: Vec<String> = rows.into_iter().map(|row| row.columns().next().unwrap()).collect();
        assert_eq!(topics, ["organization"]);
    }
}
