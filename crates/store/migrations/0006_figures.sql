-- Status pages and metrics ask for the latest mails of each folder.
CREATE INDEX messages_of_folder ON messages (folder_id, seen_at);
