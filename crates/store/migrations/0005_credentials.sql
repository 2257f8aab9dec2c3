-- Credentials of every kind: who keeps each (the organisation file or a command) and from when it is good.
ALTER TABLE credentials RENAME COLUMN sealed_secret TO sealed_proof;
ALTER TABLE credentials ADD COLUMN kind TEXT NOT NULL DEFAULT 'secret';
ALTER TABLE credentials ADD COLUMN origin TEXT NOT NULL DEFAULT 'file';
ALTER TABLE credentials ADD COLUMN starts_at {bigint};
