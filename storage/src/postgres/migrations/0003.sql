-- Texts that wait for the vector of a model (rows::work). Whoever takes one moves due_ms to when it is given up.
CREATE TABLE vector_work (
    row     bigint PRIMARY KEY,
    due_ms  bigint NOT NULL,
    tries   integer NOT NULL,
    problem text COLLATE "C",
    is_dead integer NOT NULL
);
CREATE INDEX vector_work_due ON vector_work (due_ms, row) WHERE is_dead = 0;
