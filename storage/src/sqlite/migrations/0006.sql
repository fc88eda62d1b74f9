-- Views (types::record::view): live records that share a key are shown as one, the one with the smallest id.
-- `others` says with how many others; `life` is 3 for those that are shown in another row. In all rows of a view every column but
-- id, life, position, checksum and what the checksum covers is the view's.
-- meta: views_due (same titles of before were not looked at yet), regrouped_at (position of the last view that ended
-- without an operation on what is left of it).
ALTER TABLE memories ADD COLUMN others INTEGER NOT NULL DEFAULT 0;
DROP INDEX memories_title;
CREATE INDEX memories_title  ON memories (title_key) WHERE life IN (0, 3);
CREATE INDEX memories_behind ON memories (id) WHERE life = 3;
CREATE INDEX memories_views  ON memories (id) WHERE life = 0 AND others > 0;
INSERT INTO meta (key, value) VALUES ('views_due', 1);
