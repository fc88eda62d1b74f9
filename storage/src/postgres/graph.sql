-- Memories and links once more, as a graph of Apache AGE: a vertex for each row of memories, an edge for each link that was
-- not removed. It repeats what is in the tables; triggers keep it so within the transaction that changes a row.
SELECT create_graph('hivemem_graph');
SELECT create_vlabel('hivemem_graph', 'Memory');
SELECT create_elabel('hivemem_graph', 'Link');
CREATE INDEX hivemem_graph_link ON hivemem_graph."Link" (agtype_access_operator(properties, '"id"'::agtype));

-- The vertex of a row: what AGE calls it follows from the row's number, so nobody has to look for it.
CREATE OR REPLACE FUNCTION hivemem_vertex(memory_row bigint) RETURNS graphid LANGUAGE sql STABLE
    SET search_path = public, ag_catalog AS $$
    SELECT _graphid(_label_id('hivemem_graph', 'Memory'), memory_row)
$$;

-- The edges of these links of which both ends are there: a link may have come before what it leads to.
CREATE OR REPLACE FUNCTION hivemem_edges(wanted bytea[]) RETURNS void LANGUAGE sql SET search_path = public, ag_catalog AS $$
    INSERT INTO hivemem_graph."Link" (start_id, end_id, properties)
        SELECT hivemem_vertex(s.row), hivemem_vertex(t.row),
            agtype_build_map('id', encode(l.id, 'hex'), 'relation', l.relation)
        FROM links l JOIN memories s ON s.id = l.source JOIN memories t ON t.id = l.target
        WHERE l.id = ANY (wanted) AND l.removed = 0
$$;

CREATE OR REPLACE FUNCTION hivemem_graph_memory() RETURNS trigger LANGUAGE plpgsql SET search_path = public, ag_catalog AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM hivemem_graph."Link" WHERE start_id = hivemem_vertex(OLD.row) OR end_id = hivemem_vertex(OLD.row);
        DELETE FROM hivemem_graph."Memory" WHERE id = hivemem_vertex(OLD.row);
        RETURN NULL;
    END IF;
    INSERT INTO hivemem_graph."Memory" (id, properties)
        VALUES (hivemem_vertex(NEW.row), agtype_build_map('id', encode(NEW.id, 'hex')));
    PERFORM hivemem_edges(array(
        SELECT id FROM links WHERE removed = 0 AND source = NEW.id
        UNION SELECT id FROM links WHERE removed = 0 AND target = NEW.id
    ));
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION hivemem_graph_link() RETURNS trigger LANGUAGE plpgsql SET search_path = public, ag_catalog AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.removed = 0 THEN
        DELETE FROM hivemem_graph."Link" WHERE agtype_access_operator(properties, '"id"'::agtype)
            = ('"' || encode(OLD.id, 'hex') || '"')::agtype;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.removed = 0 THEN
        PERFORM hivemem_edges(array[NEW.id]);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER hivemem_graph_memory AFTER INSERT OR DELETE ON memories
    FOR EACH ROW EXECUTE FUNCTION hivemem_graph_memory();
CREATE OR REPLACE TRIGGER hivemem_graph_link AFTER INSERT OR DELETE ON links
    FOR EACH ROW EXECUTE FUNCTION hivemem_graph_link();
CREATE OR REPLACE TRIGGER hivemem_graph_relink AFTER UPDATE ON links
    FOR EACH ROW WHEN (OLD.removed <> NEW.removed) EXECUTE FUNCTION hivemem_graph_link();

-- What was there before.
INSERT INTO hivemem_graph."Memory" (id, properties)
    SELECT hivemem_vertex(row), agtype_build_map('id', encode(id, 'hex')) FROM memories;
SELECT hivemem_edges(array(SELECT id FROM links WHERE removed = 0));
