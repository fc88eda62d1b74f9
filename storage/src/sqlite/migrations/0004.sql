-- Forgetting and comparing (docs/adr/0008-forgetting.md).
-- meta: log_begins (operations up to this position may be gone), joined_at (position of the last change without an
-- operation).

-- What two nodes compare, in order of id, without the rows.
CREATE INDEX memories_digest ON memories (id, namespace, checksum);
CREATE INDEX memories_tombstones ON memories (position) WHERE life = 2;
CREATE INDEX links_removed ON links (position) WHERE removed = 1;

-- Up to here something may have been hidden of which not even the hash is kept any more.
ALTER TABLE feeds ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0;
-- The memory that a refused operation was about; empty where it was about none, NULL where that is not known.
ALTER TABLE unheld ADD COLUMN memory BLOB;
CREATE INDEX unheld_memory ON unheld (memory) WHERE memory IS NOT NULL;
CREATE INDEX aliases_all ON aliases (memory);
