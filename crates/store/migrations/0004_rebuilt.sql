-- 1: the stored bytes are not as Microsoft gave them, but put together from JSON and attachments.
ALTER TABLE messages ADD COLUMN rebuilt {bigint} NOT NULL DEFAULT 0;
