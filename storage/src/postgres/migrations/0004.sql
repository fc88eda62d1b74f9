-- Words as numbers, with their impacts beside them: what a text search vector has to be unpacked for is one look into an array.
-- A lexeme was a term's 64 bits in eleven digits of six bits, the lowest first; base64 wants the highest first, and 72 bits.
-- Behind the terms come those of great impact once more, their bits turned by one, with an impact of 0 (postgres::words).
-- The table is written anew: to update each row would leave as much dead as alive, and keep the old index up meanwhile.
ALTER TABLE texts RENAME TO texts_of_3;
CREATE TABLE texts (
    row bigint NOT NULL,
    terms bigint[] NOT NULL,
    impacts bytea NOT NULL
);
INSERT INTO texts SELECT t.row, n.terms, n.impacts FROM texts_of_3 t, LATERAL (
    WITH known AS (
        SELECT u.positions[1]::integer AS impact, ('x' || substr(encode(decode('A' || translate(reverse(u.lexeme),
            '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-',
            'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'), 'base64'), 'hex'), 3))::bit(64)::bigint AS term
        FROM unnest(t.words) u
    ), kept AS (
        SELECT 0 AS place, term, impact FROM known
        UNION ALL
        SELECT 1, (term << 1) | ((term >> 63) & 1), 0 FROM known WHERE impact >= 160
    )
    SELECT coalesce(array_agg(term ORDER BY place, term), '{}') AS terms,
        coalesce(string_agg(set_byte('\x00'::bytea, 0, impact), ''::bytea ORDER BY place, term), ''::bytea) AS impacts
    FROM kept
) n;
DROP TABLE texts_of_3;
ALTER TABLE texts ADD PRIMARY KEY (row);
CREATE INDEX texts_terms ON texts USING gin (terms);
ANALYZE texts;
