//! Names that rows and indexes mention by number.
//!
//! Invariants: a name has one number for ever, from 1 in order of first use; a number that a failed
//! group gave out is given out again, because nothing durable mentions it.
//!
//! Not here: readers, who look names up in SQL.

use std::collections::BTreeMap;

use crate::sql::{Connection, ValueRef};
use types::NodeId;

/// A kind of name: where it is kept and how.
trait Name: Ord + Clone {
    fn bind(&self) -> ValueRef<'_>;
}

impl Name for String {
    fn bind(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl Name for NodeId {
    fn bind(&self) -> ValueRef<'_> {
        ValueRef::Blob(self.as_bytes())
    }
}

/// The names of one table, all in memory.
#[derive(Debug)]
struct Names<K> {
    insert: &'static str,
    ids: BTreeMap<K, u32>,
    last: u32,
    /// Names that no commit has kept yet, with their numbers.
    fresh: Vec<(K, u32)>,
}

impl<K: Name> Names<K> {
    fn load(
        connection: &Connection,
        select: &str,
        insert: &'static str,
        read: impl Fn(crate::sql::Row<'_>) -> crate::sql::Result<K>,
    ) -> crate::sql::Result<Self> {
        let mut statement = connection.prepare_cached(select)?;
        let ids = statement
            .query_map([], |row| Ok((read(row)?, row.get(0)?)))?
            .collect::<crate::sql::Result<BTreeMap<K, u32>>>()?;
        let last = ids.values().copied().max().unwrap_or(0);
        Ok(Self { insert, ids, last, fresh: Vec::new() })
    }

    /// Reads the names that others have written since.
    #[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
    fn catch_up(
        &mut self,
        connection: &Connection,
        select: &str,
        read: impl Fn(crate::sql::Row<'_>) -> crate::sql::Result<K>,
    ) -> crate::sql::Result<()> {
        let mut statement = connection.prepare_cached(&format!("{select} WHERE id > ?1"))?;
        let new = statement.query_map([self.last], |row| Ok((read(row)?, row.get(0)?)))?;
        for name in new {
            let (name, id): (K, u32) = name?;
            self.last = self.last.max(id);
            self.ids.insert(name, id);
        }
        Ok(())
    }

    fn id<Q>(&mut self, name: &Q) -> u32
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        self.last += 1;
        self.ids.insert(name.to_owned(), self.last);
        self.fresh.push((name.to_owned(), self.last));
        self.last
    }

    fn write(&self, connection: &Connection) -> crate::sql::Result<()> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let mut statement = connection.prepare_cached(self.insert)?;
        for (name, id) in &self.fresh {
            statement.execute((id, name.bind()))?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        for (name, id) in self.fresh.drain(..) {
            self.ids.remove(&name);
            self.last = self.last.min(id - 1);
        }
    }
}

/// All interned names.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    namespaces: Names<String>,
    audiences: Names<String>,
    agents: Names<String>,
    tags: Names<String>,
    nodes: Names<NodeId>,
}

impl Vocabulary {
    /// Reads all names.
    pub(crate) fn load(connection: &Connection) -> crate::sql::Result<Self> {
        let text = |row: crate::sql::Row<'_>| row.get::<String>(1);
        let names =
            |select: &str, insert: &'static str| Names::load(connection, select, insert, text);
        Ok(Self {
            namespaces: names(
                "SELECT id, name FROM namespaces",
                "INSERT INTO namespaces (id, name) VALUES (?1, ?2)",
            )?,
            audiences: names(
                "SELECT id, name FROM audiences",
                "INSERT INTO audiences (id, name) VALUES (?1, ?2)",
            )?,
            agents: names(
                "SELECT id, name FROM names",
                "INSERT INTO names (id, name) VALUES (?1, ?2)",
            )?,
            tags: names(
                "SELECT id, name FROM tags",
                "INSERT INTO tags (id, name) VALUES (?1, ?2)",
            )?,
            nodes: Names::load(
                connection,
                "SELECT id, node FROM nodes",
                "INSERT INTO nodes (id, node) VALUES (?1, ?2)",
                |row| {
                    let bytes: [u8; 16] = row.get(1)?;
                    Ok(NodeId(uuid::Uuid::from_bytes(bytes)))
                },
            )?,
        })
    }

    /// Reads the names that others have written to the database since.
    #[cfg_attr(madsim, allow(dead_code, reason = "the simulator has no server"))]
    pub(crate) fn catch_up(&mut self, connection: &Connection) -> crate::sql::Result<()> {
        let text = |row: crate::sql::Row<'_>| row.get::<String>(1);
        self.namespaces.catch_up(connection, "SELECT id, name FROM namespaces", text)?;
        self.audiences.catch_up(connection, "SELECT id, name FROM audiences", text)?;
        self.agents.catch_up(connection, "SELECT id, name FROM names", text)?;
        self.tags.catch_up(connection, "SELECT id, name FROM tags", text)?;
        let node = |row: crate::sql::Row<'_>| Ok(NodeId(uuid::Uuid::from_bytes(row.get(1)?)));
        self.nodes.catch_up(connection, "SELECT id, node FROM nodes", node)
    }

    /// Number of a namespace.
    pub(crate) fn namespace(&mut self, name: &str) -> u32 {
        self.namespaces.id(name)
    }

    /// Number of an audience.
    pub(crate) fn audience(&mut self, name: &str) -> u32 {
        self.audiences.id(name)
    }

    /// Number of an agent.
    pub(crate) fn agent(&mut self, name: &str) -> u32 {
        self.agents.id(name)
    }

    /// Number of a tag.
    pub(crate) fn tag(&mut self, name: &str) -> u32 {
        self.tags.id(name)
    }

    /// Number of a node, if it has one.
    pub(crate) fn known_node(&self, node: NodeId) -> Option<u32> {
        self.nodes.ids.get(&node).copied()
    }

    /// Number of a node.
    pub(crate) fn node(&mut self, node: NodeId) -> u32 {
        self.nodes.id(&node)
    }

    /// Writes the names given out since the last commit.
    pub(crate) fn write(&self, connection: &Connection) -> crate::sql::Result<()> {
        self.namespaces.write(connection)?;
        self.audiences.write(connection)?;
        self.agents.write(connection)?;
        self.tags.write(connection)?;
        self.nodes.write(connection)
    }

    /// What was written is durable.
    pub(crate) fn keep(&mut self) {
        self.namespaces.fresh.clear();
        self.audiences.fresh.clear();
        self.agents.fresh.clear();
        self.tags.fresh.clear();
        self.nodes.fresh.clear();
    }

    /// The group failed: its names are unknown again.
    pub(crate) fn forget(&mut self) {
        self.namespaces.forget();
        self.audiences.forget();
        self.agents.forget();
        self.tags.forget();
        self.nodes.forget();
    }
}
