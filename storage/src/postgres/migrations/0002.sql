-- A statement is prepared once, for numbers of 64 bits: a column that may be empty has no smaller ones, or a statement that
-- was prepared with nothing would not take a number.
ALTER TABLE signed_events ALTER COLUMN origin TYPE bigint;
