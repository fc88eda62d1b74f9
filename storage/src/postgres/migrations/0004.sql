-- Words as numbers, with their impacts beside them: what a text search vector has to be unpacked for is one look into an array.
-- A lexeme was a term's 64 bits in eleven digits of six bits, the lowest first; base64 wants the highest first, and 72 bits.
-- Behind the terms come those of great impact once more, their bits turned by one, with an impact of 0 (postgres::words).
ALTER TABLE texts ADD COLUMN terms bigint[], ADD COLUMN impacts bytea;
UPDATE texts t SET (terms, impacts) = (
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
    SELECT coalesce(array_agg(term ORDER BY place, term), '{}'),
        coalesce(string_agg(set_byte('\x00'::bytea, 0, impact), ''::bytea ORDER BY place, term), ''::bytea)
    FROM kept
);
ALTER TABLE texts ALTER COLUMN terms SET NOT NULL, ALTER COLUMN impacts SET NOT NULL, DROP COLUMN words;
CREATE INDEX texts_terms ON texts USING gin (terms);
