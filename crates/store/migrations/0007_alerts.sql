-- Which alerts were told already, so that each is told once, whoever of the nodes sees it first, and
-- when each stood last.
CREATE TABLE alerts_told (
  key TEXT PRIMARY KEY,
  at {bigint} NOT NULL
);
