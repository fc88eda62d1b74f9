-- Texts that wait for the vector of a model (rows::work). Whoever takes one moves due_ms to when it is given up.
CREATE TABLE vector_work (
    row     INTEGER PRIMARY KEY,               -- memories.row
    due_ms  INTEGER NOT NULL,
    tries   INTEGER NOT NULL,
    problem TEXT,
    is_dead INTEGER NOT NULL                   -- 0 or 1
) STRICT;
CREATE INDEX vector_work_due ON vector_work (due_ms, row) WHERE is_dead = 0;
