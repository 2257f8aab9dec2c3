-- The first mail of each thread, by its Message-ID and sender: two copies that are
-- processed at once become one conversation, whoever comes first.
CREATE TABLE thread_heads (
  internet_message_id TEXT NOT NULL,
  from_address TEXT NOT NULL,
  conversation_id {uuid} NOT NULL REFERENCES conversations (id),
  PRIMARY KEY (internet_message_id, from_address)
) {strict};
