//! What becomes of a file in a store: plans, changes, refusals, and what is told.
//! (The store's own tests take the same way on both engines.)

use postroom_model::{Clock, Entropy, Timestamp};
use postroom_store::{
    Db, DbConfig, MIGRATIONS, SqliteMode, Stmt, Store, args,
    blobs::Blobs,
    feed::{self, Topic},
    integrations,
    seal::Keys,
};
use secrecy::ExposeSecret as _;

use super::{super::*, CONTOSO, environment};

const ALL: Options = Options { dry_run: false, prune: true };
const KEEP: Options = Options { dry_run: false, prune: false };
const DRY: Options = Options { dry_run: true, prune: false };

/// A store in a file of its own, and a clock that stands.
struct Ground {
    store: Store,
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = DbConfig::Sqlite { path: folder.path().join("postroom.db"), mode: SqliteMode::Inline };
        let db = Db::open(&config).await.unwrap();
        db.migrate(MIGRATIONS).await.unwrap();
        let mut count = 0_u8;
        let entropy = Entropy::new(move |buffer| {
            buffer.iter_mut().for_each(|byte| {
                count = count.wrapping_mul(5).wrapping_add(113);
                *byte = count;
            });
            count = count.wrapping_add(1);
        });
        let clock = Clock::new(|| Timestamp::from_second(1_800_000_000).unwrap());
        Self { store: Store::new(db, Blobs::memory(), Keys::generate(&entropy), entropy), clock, folder }
    }

    async fn apply(&self, text: &str, how: Options) -> Result<String, ApplyError> {
        apply(text, how, &self.store, &self.clock, &environment).await.map(|report| report.to_string())
    }

    /// A conversation that waits in a queue, as far as the tables ask for it.
    async fn insert_conversation(&self, queue: &str) {
        let sql = "INSERT INTO conversations (id, queue_id, mailbox_id, state, priority, subject, arrived_at, \
                   opened_at, unread) SELECT $1, q.id, m.id, 'waiting', 0, '', 0, 0, 0 FROM queues q, mailboxes m \
                   WHERE q.name = $2 AND m.address = 'support@contoso.example'";
        let id = self.store.entropy.uuid(self.clock.now());
        self.store.db.apply(vec![Stmt::new(sql, args![id, queue]).expect_one()]).await.unwrap();
    }
}

#[tokio::test]
async fn a_dry_run_tells_what_the_same_file_then_does() {
    let ground = Ground::new().await;
    let planned = ground.apply(CONTOSO, DRY).await.unwrap();
    assert_eq!(
        planned,
        "create organization Contoso Support\n\
         create skill invoices\n\
         create skill hardware\n\
         create user agent1@contoso.example\n\
         create user agent2@contoso.example\n\
         create user admin@contoso.example\n\
         create queue Support\n\
         create queue Billing\n\
         create queue Sales\n\
         create integration contoso-graph\n\
         create domain contoso.example\n\
         create mailbox support@contoso.example\n\
         create mailbox sales@contoso.example\n\
         create route billing@contoso.example\n\
         create route support@contoso.example\n\
         create route sales@contoso.example\n\
         unchanged: 0\n\
         dry run: nothing was written\n"
    );
    let done = ground.apply(CONTOSO, KEEP).await.unwrap();
    assert_eq!(format!("{done}dry run: nothing was written\n"), planned);
    assert_eq!(ground.apply(CONTOSO, ALL).await.unwrap(), "unchanged: 16\n");
    let changes = feed::list_after(&ground.store.db, feed::Position::default(), 10).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.topic).collect::<Vec<_>>(), [Topic::Organization]);
}

#[tokio::test]
async fn a_changed_line_is_a_changed_thing() {
    let ground = Ground::new().await;
    ground.apply(CONTOSO, KEEP).await.unwrap();
    let other = CONTOSO.replace("90s", "2m").replace("{ hardware: 4 }", "{ hardware: 5 }");
    assert_eq!(
        ground.apply(&other, KEEP).await.unwrap(),
        "change user agent1@contoso.example (skills)\nchange queue Support (alerting_timeout)\nunchanged: 14\n"
    );
}

#[tokio::test]
async fn a_secret_with_other_content_behind_the_same_reference_is_noticed_and_not_printed() {
    let ground = Ground::new().await;
    let secret = ground.folder.path().join("secret");
    std::fs::write(&secret, "first\r\n").unwrap();
    let text = CONTOSO.replace("env:SPRING", &format!("file:{}", secret.display()));
    ground.apply(&text, KEEP).await.unwrap();
    std::fs::write(&secret, "second\n").unwrap();
    let said = ground.apply(&text, KEEP).await.unwrap();
    assert_eq!(said, "change integration contoso-graph (credentials)\nunchanged: 15\n");
    let opened = integrations::list(&ground.store).await.unwrap();
    assert_eq!(opened[0].credentials[0].proof.text.expose_secret(), "second");
}

#[tokio::test]
async fn what_the_file_does_not_name_stays_until_prune() {
    let ground = Ground::new().await;
    ground.apply(CONTOSO, KEEP).await.unwrap();
    let other = CONTOSO.lines().filter(|line| !line.contains("Sales")).collect::<Vec<_>>().join("\n");
    assert_eq!(
        ground.apply(&other, KEEP).await.unwrap(),
        "keep queue Sales (not in the file; --prune deletes it)\n\
         keep route sales@contoso.example (not in the file; --prune deletes it)\n\
         unchanged: 16\n"
    );
    assert_eq!(
        ground.apply(&other, ALL).await.unwrap(),
        "delete route sales@contoso.example\ndelete queue Sales\nunchanged: 14\n"
    );
}

#[tokio::test]
async fn what_is_in_use_is_refused_with_its_users_and_nothing_is_changed() {
    let ground = Ground::new().await;
    ground.apply(CONTOSO, KEEP).await.unwrap();
    ground.insert_conversation("Sales").await;
    let other = CONTOSO.lines().filter(|line| !line.contains("Sales")).collect::<Vec<_>>().join("\n");
    let other = other.replace("Agent One", "Another name");
    for how in [ALL, Options { dry_run: true, ..ALL }] {
        let error = ground.apply(&other, how).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "nothing was changed, because something to delete is in use:\n\
             queue Sales is used by 1 open conversation; keep it in the file, or take those away first"
        );
    }
    assert_eq!(ground.apply(CONTOSO, ALL).await.unwrap(), "unchanged: 16\n");
}

#[tokio::test]
async fn a_wrong_file_changes_nothing() {
    let ground = Ground::new().await;
    let wrong = CONTOSO.replace("90s", "soon");
    let Err(ApplyError::Problems(problems)) = ground.apply(&wrong, KEEP).await else { panic!("it is wrong") };
    assert_eq!((problems[0].line, problems[0].column), (21, 40));
    assert!(ground.apply(CONTOSO, DRY).await.unwrap().starts_with("create organization"));
}

#[tokio::test]
async fn programs_read_the_report_as_json() {
    let ground = Ground::new().await;
    let text = "organization: { name: Contoso }\nskills: [hardware]\n";
    let report = apply(text, DRY, &ground.store, &ground.clock, &environment).await.unwrap();
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        serde_json::json!({
            "dry_run": true,
            "steps": [
                { "action": "create", "kind": "organization", "name": "Contoso" },
                { "action": "create", "kind": "skill", "name": "hardware" },
            ],
            "unchanged": 0,
            "tried": [],
            "not_in_file": [],
        })
    );
}
