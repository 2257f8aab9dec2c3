-- When an administrator signed in and the application had the delegated User.Read: the doctor shows it.
ALTER TABLE integrations ADD COLUMN user_read_at {bigint};
