-- What the connector needs to heal itself: under which address a subscription was made, when
-- Microsoft last confirmed it, and which mails were announced at all.
ALTER TABLE subscriptions ADD COLUMN public_url TEXT NOT NULL DEFAULT '';
ALTER TABLE subscriptions ADD COLUMN checked_at {bigint};
ALTER TABLE subscriptions ADD COLUMN due_at {bigint};

-- Until then the folder is followed more closely, because announcements went missing.
ALTER TABLE folders ADD COLUMN watched_until {bigint};

ALTER TABLE messages ADD COLUMN announced_at {bigint};
UPDATE messages SET announced_at = seen_at;
CREATE INDEX messages_unannounced ON messages (folder_id, received_at) WHERE announced_at IS NULL;
ALTER TABLE messages RENAME COLUMN marked_read_at TO touched_at;

-- What an administrator set or asked for, mailbox by mailbox.
ALTER TABLE mailboxes ADD COLUMN opened TEXT NOT NULL DEFAULT 'take';
ALTER TABLE mailboxes ADD COLUMN paused_at {bigint};
ALTER TABLE mailboxes ADD COLUMN resync_asked_at {bigint};

ALTER TABLE integrations ADD COLUMN concurrency {bigint} NOT NULL DEFAULT 4;
ALTER TABLE integrations ADD COLUMN requests {bigint} NOT NULL DEFAULT 10000;
ALTER TABLE integrations ADD COLUMN upload_bytes {bigint} NOT NULL DEFAULT 157286400;
