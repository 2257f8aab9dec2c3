-- What is asked all the time and would read whole tables without them.
CREATE INDEX messages_unread ON messages (mailbox_id) WHERE state IN ('seen', 'stored');
CREATE INDEX jobs_node ON jobs (node_id) WHERE node_id IS NOT NULL;
CREATE INDEX feed_order ON feed (xact, seq);
