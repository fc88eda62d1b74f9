-- What share of the memories has a word that many have is known from a sample of 150,000 (postgres::counts).
ALTER TABLE texts ALTER COLUMN terms SET STATISTICS 500;
ANALYZE texts;
-- What was written last waits in a list that every search reads, several times for one question: at most 32 pages of it.
ALTER INDEX texts_terms SET (gin_pending_list_limit = 256);
