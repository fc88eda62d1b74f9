-- Vectors that wait for the index of their space (postgres::unindexed). What is said of `vectors` holds for both tables.
CREATE TABLE vectors_unindexed (PRIMARY KEY (row)) INHERITS (vectors);
