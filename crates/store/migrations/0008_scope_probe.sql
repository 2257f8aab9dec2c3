-- Mailboxes that the application must not reach, one a line: the doctor proves that they are refused.
ALTER TABLE integrations ADD COLUMN scope_probe TEXT NOT NULL DEFAULT '';
