-- One text for both engines. Words in braces differ by engine: {uuid}, {blob},
-- {identity} (a growing key), {strict} (SQLite's strict tables), {xact} (the
-- writing transaction, where commits may become visible out of order).
-- Times are microseconds since 1970, flags are 0 or 1.

CREATE TABLE settings (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) {strict};

-- ── organisation ────────────────────────────────────────────────────────────
CREATE TABLE integrations (
  id {uuid} NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  token_endpoint TEXT NOT NULL,
  client_id TEXT NOT NULL,
  cloud TEXT NOT NULL,
  graph_url TEXT,
  position {bigint} NOT NULL
) {strict};

CREATE TABLE credentials (
  integration_id {uuid} NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  sealed_secret {blob} NOT NULL,
  expires_at {bigint},
  position {bigint} NOT NULL,
  PRIMARY KEY (integration_id, name)
) {strict};

CREATE TABLE mailboxes (
  id {uuid} NOT NULL PRIMARY KEY,
  integration_id {uuid} NOT NULL REFERENCES integrations (id),
  address TEXT NOT NULL UNIQUE,
  take_from {bigint},
  after_taking TEXT NOT NULL,
  position {bigint} NOT NULL,
  activated_at {bigint},
  health TEXT NOT NULL,
  health_detail TEXT,
  health_at {bigint}
) {strict};

CREATE TABLE folders (
  id {uuid} NOT NULL PRIMARY KEY,
  mailbox_id {uuid} NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  graph_id TEXT,
  delta_link TEXT,
  resume_link TEXT,
  crawled_at {bigint},
  older_count {bigint} NOT NULL,
  dirty_since {bigint},
  last_notification_at {bigint},
  last_delta_at {bigint},
  last_sweep_at {bigint},
  UNIQUE (mailbox_id, name)
) {strict};

CREATE TABLE subscriptions (
  id {uuid} NOT NULL PRIMARY KEY,
  folder_id {uuid} NOT NULL REFERENCES folders (id) ON DELETE CASCADE,
  path TEXT NOT NULL UNIQUE,
  client_state_hash {blob} NOT NULL,
  graph_id TEXT,
  expires_at {bigint},
  created_at {bigint} NOT NULL,
  renewed_at {bigint}
) {strict};
CREATE INDEX subscriptions_folder ON subscriptions (folder_id);

CREATE TABLE skills (
  id {uuid} NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) {strict};

CREATE TABLE queues (
  id {uuid} NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  alerting_timeout_us {bigint} NOT NULL,
  position {bigint} NOT NULL
) {strict};

CREATE TABLE wrap_up_codes (
  queue_id {uuid} NOT NULL REFERENCES queues (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  position {bigint} NOT NULL,
  PRIMARY KEY (queue_id, name)
) {strict};

CREATE TABLE domains (
  id {uuid} NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  integration_id {uuid} NOT NULL REFERENCES integrations (id),
  position {bigint} NOT NULL
) {strict};

CREATE TABLE routes (
  id {uuid} NOT NULL PRIMARY KEY,
  address TEXT NOT NULL UNIQUE,
  queue_id {uuid} NOT NULL REFERENCES queues (id),
  language TEXT,
  priority {bigint} NOT NULL,
  from_name TEXT,
  position {bigint} NOT NULL
) {strict};

CREATE TABLE route_skills (
  route_id {uuid} NOT NULL REFERENCES routes (id) ON DELETE CASCADE,
  skill_id {uuid} NOT NULL REFERENCES skills (id),
  PRIMARY KEY (route_id, skill_id)
) {strict};

CREATE TABLE users (
  id {uuid} NOT NULL PRIMARY KEY,
  email TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  roles TEXT NOT NULL,
  email_capacity {bigint} NOT NULL,
  position {bigint} NOT NULL,
  password_hash TEXT,
  locale TEXT,
  routing_status TEXT NOT NULL,
  status_since {bigint} NOT NULL,
  last_offered_at {bigint}
) {strict};

CREATE TABLE user_skills (
  user_id {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  skill_id {uuid} NOT NULL REFERENCES skills (id),
  proficiency {bigint} NOT NULL,
  PRIMARY KEY (user_id, skill_id)
) {strict};

CREATE TABLE user_languages (
  user_id {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  language TEXT NOT NULL,
  proficiency {bigint} NOT NULL,
  PRIMARY KEY (user_id, language)
) {strict};

CREATE TABLE queue_members (
  queue_id {uuid} NOT NULL REFERENCES queues (id) ON DELETE CASCADE,
  user_id {uuid} NOT NULL REFERENCES users (id),
  PRIMARY KEY (queue_id, user_id)
) {strict};
CREATE INDEX queue_members_user ON queue_members (user_id);

CREATE TABLE sessions (
  token_hash {blob} NOT NULL PRIMARY KEY,
  user_id {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  created_at {bigint} NOT NULL,
  expires_at {bigint} NOT NULL
) {strict};

-- ── the way of a mail ───────────────────────────────────────────────────────
CREATE TABLE conversations (
  id {uuid} NOT NULL PRIMARY KEY,
  queue_id {uuid} NOT NULL REFERENCES queues (id),
  route_id {uuid} REFERENCES routes (id) ON DELETE SET NULL,
  mailbox_id {uuid} NOT NULL REFERENCES mailboxes (id),
  state TEXT NOT NULL,
  priority {bigint} NOT NULL,
  language TEXT,
  subject TEXT NOT NULL,
  customer_address TEXT,
  customer_name TEXT,
  from_name TEXT,
  agent_id {uuid} REFERENCES users (id),
  last_agent_id {uuid} REFERENCES users (id),
  linked_id {uuid} REFERENCES conversations (id),
  arrived_at {bigint} NOT NULL,
  opened_at {bigint} NOT NULL,
  closed_at {bigint},
  wrap_up_code TEXT,
  unread {bigint} NOT NULL
) {strict};
CREATE INDEX conversations_waiting ON conversations (state, queue_id, arrived_at);
CREATE INDEX conversations_agent ON conversations (agent_id, state);

CREATE TABLE conversation_skills (
  conversation_id {uuid} NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
  skill_id {uuid} NOT NULL REFERENCES skills (id),
  PRIMARY KEY (conversation_id, skill_id)
) {strict};

CREATE TABLE participants (
  conversation_id {uuid} NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
  address TEXT NOT NULL,
  PRIMARY KEY (conversation_id, address)
) {strict};

CREATE TABLE messages (
  id {uuid} NOT NULL PRIMARY KEY,
  mailbox_id {uuid} NOT NULL REFERENCES mailboxes (id),
  folder_id {uuid} REFERENCES folders (id) ON DELETE SET NULL,
  graph_id TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT,
  seen_at {bigint} NOT NULL,
  received_at {bigint},
  stored_at {bigint},
  queued_at {bigint},
  marked_read_at {bigint},
  sha256 {blob},
  size {bigint},
  sealed {blob},
  blob_id {uuid},
  internet_message_id TEXT,
  from_address TEXT,
  from_name TEXT,
  subject TEXT,
  automatic TEXT,
  conversation_id {uuid} REFERENCES conversations (id),
  UNIQUE (mailbox_id, graph_id)
) {strict};
CREATE INDEX messages_state ON messages (state, seen_at);
CREATE INDEX messages_internet_id ON messages (internet_message_id);
CREATE INDEX messages_conversation ON messages (conversation_id);

CREATE TABLE offers (
  id {uuid} NOT NULL PRIMARY KEY,
  conversation_id {uuid} NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
  user_id {uuid} NOT NULL REFERENCES users (id),
  state TEXT NOT NULL,
  offered_at {bigint} NOT NULL,
  deadline_at {bigint} NOT NULL,
  answered_at {bigint}
) {strict};
CREATE UNIQUE INDEX offers_open ON offers (conversation_id) WHERE state = 'open';
CREATE INDEX offers_deadline ON offers (state, deadline_at);

CREATE TABLE outgoing (
  id {uuid} NOT NULL PRIMARY KEY,
  conversation_id {uuid} NOT NULL REFERENCES conversations (id),
  reply_to_id {uuid} NOT NULL REFERENCES messages (id),
  mailbox_id {uuid} NOT NULL REFERENCES mailboxes (id),
  user_id {uuid} NOT NULL REFERENCES users (id),
  state TEXT NOT NULL,
  reason TEXT,
  detail TEXT,
  marker TEXT NOT NULL UNIQUE,
  draft_id TEXT,
  internet_message_id TEXT,
  sealed {blob} NOT NULL,
  looks {bigint} NOT NULL,
  created_at {bigint} NOT NULL,
  sent_at {bigint}
) {strict};
CREATE INDEX outgoing_conversation ON outgoing (conversation_id);
CREATE INDEX outgoing_internet_id ON outgoing (internet_message_id);

CREATE TABLE trace (
  seq {identity},
  at {bigint} NOT NULL,
  message_id {uuid} REFERENCES messages (id) ON DELETE CASCADE,
  conversation_id {uuid} REFERENCES conversations (id) ON DELETE CASCADE,
  step TEXT NOT NULL,
  reason TEXT NOT NULL,
  data TEXT NOT NULL
) {strict};
CREATE INDEX trace_message ON trace (message_id, seq);
CREATE INDEX trace_conversation ON trace (conversation_id, seq);

-- ── the machinery ───────────────────────────────────────────────────────────
CREATE TABLE jobs (
  id {uuid} NOT NULL PRIMARY KEY,
  lane TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL UNIQUE,
  payload TEXT NOT NULL,
  priority {bigint} NOT NULL,
  run_at {bigint} NOT NULL,
  attempts {bigint} NOT NULL,
  lease_until {bigint} NOT NULL,
  node_id {uuid},
  created_at {bigint} NOT NULL,
  last_error TEXT
) {strict};
CREATE INDEX jobs_lane ON jobs (lane, priority, run_at);

CREATE TABLE leases (
  name TEXT NOT NULL PRIMARY KEY,
  node_id {uuid} NOT NULL,
  fence {bigint} NOT NULL,
  until {bigint} NOT NULL
) {strict};

CREATE TABLE feed (
  seq {identity},
  xact {bigint} NOT NULL DEFAULT {xact},
  at {bigint} NOT NULL,
  topic TEXT NOT NULL,
  subject TEXT NOT NULL
) {strict};
CREATE INDEX feed_at ON feed (at);
