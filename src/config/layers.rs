//! Layers: where a value comes from, and the merge of all of them.
//!
//! Invariant: the file is read once and every problem in it is reported with its line.
//!
//! Not here: what values mean (`settings`).

use std::{collections::BTreeMap, fmt, path::PathBuf};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::table::{SETTINGS, Setting};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag.
    Flag,
    /// An environment variable.
    Variable(String),
    /// A line of the file.
    File {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("flag"),
            Origin::Variable(name) => write!(f, "${name}"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("{}:{line}: {problem}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// A key that no setting has.
    #[error("{origin}: unknown setting {key:?}{}", suggestion.as_ref().map(|s| format!("; did you mean {s:?}?")).unwrap_or_default())]
    Unknown {
        /// Where it stands.
        origin: Origin,
        /// As written.
        key: String,
        /// The nearest key there is.
        suggestion: Option<&'static str>,
    },
    /// A value that does not fit.
    #[error("{origin}: {key}: {problem}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// Which setting.
        key: &'static str,
        /// What is wrong and what would fit.
        problem: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The cause.
        problem: String,
    },
}

/// A setting's value after merging, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Which setting.
    pub setting: &'static str,
    /// Its value; empty for none.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it must not be shown.
    pub secret: bool,
}

/// Values by key, strongest layer first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    values: BTreeMap<&'static str, (String, Origin)>,
}

fn known(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.key == key)
}

/// Levenshtein distance, for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn suggestion(key: &str) -> Option<&'static str> {
    let nearest = SETTINGS.iter().map(|s| (distance(key, s.key), s.key)).min()?;
    (nearest.0 <= 4).then_some(nearest.1)
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count()
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl Layers {
    /// Adds a layer's value, unless a stronger layer has set the key.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`].
    pub fn add(&mut self, key: &str, value: String, origin: Origin) -> Result<(), ConfigError> {
        let Some(setting) = known(key) else {
            return Err(ConfigError::Unknown {
                origin,
                key: key.to_owned(),
                suggestion: suggestion(key),
            });
        };
        self.values.entry(setting.key).or_insert((value, origin));
        Ok(())
    }

    /// Adds the environment: every variable that starts with `HIVEMEM_`.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`] for a variable that no setting has.
    pub fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        // Read by the command line itself, before there is a configuration.
        const COMMAND_LINE: [&str; 5] =
            ["HIVEMEM_CONFIG", "HIVEMEM_URL", "HIVEMEM_KEY", "HIVEMEM_FENCE", "HIVEMEM_LOCK_KEY"];
        for (name, value) in variables {
            if !name.starts_with("HIVEMEM_") || COMMAND_LINE.contains(&name.as_str()) {
                continue;
            }
            let key = SETTINGS.iter().find(|s| s.variable() == name).map(|s| s.key);
            let fallback = name["HIVEMEM_".len()..].to_lowercase();
            self.add(key.unwrap_or(&fallback), value, Origin::Variable(name))?;
        }
        Ok(())
    }

    /// Adds a TOML file's text.
    ///
    /// # Errors
    /// The first problem, with its line.
    pub fn add_file(&mut self, path: PathBuf, text: &str) -> Result<(), ConfigError> {
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.clone(),
            line: error.span().map_or(1, |span| line_at(text, span.start)),
            problem: error.message().to_owned(),
        })?;
        self.add_table(&path, text, "", table.get_ref())
    }

    fn add_table(
        &mut self,
        path: &PathBuf,
        text: &str,
        prefix: &str,
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        for (name, value) in table.iter() {
            let key = format!("{prefix}{}", name.get_ref());
            let origin =
                Origin::File { path: path.clone(), line: line_at(text, name.span().start) };
            if let DeValue::Table(inner) = value.get_ref() {
                if !SETTINGS.iter().any(|s| s.key.starts_with(&format!("{key}."))) {
                    return Err(ConfigError::Unknown { origin, suggestion: suggestion(&key), key });
                }
                self.add_table(path, text, &format!("{key}."), inner)?;
                continue;
            }
            match (known(&key), scalar(value.get_ref())) {
                (Some(setting), None) => {
                    return Err(ConfigError::Value {
                        origin,
                        key: setting.key,
                        problem: "needs a string, a number or a boolean".to_owned(),
                    });
                }
                (_, text) => self.add(&key, text.unwrap_or_default(), origin)?,
            }
        }
        Ok(())
    }

    /// Value and origin of a setting.
    pub fn get(&self, key: &'static str) -> (String, Origin) {
        self.values.get(key).cloned().unwrap_or_else(|| {
            (known(key).map(|s| s.default.to_owned()).unwrap_or_default(), Origin::Default)
        })
    }

    /// Every setting with its value, in the order of the table.
    pub fn resolved(&self) -> Vec<Resolved> {
        SETTINGS
            .iter()
            .map(|setting| {
                let (value, origin) = self.get(setting.key);
                Resolved { setting: setting.key, value, origin, secret: setting.secret }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Layers, ConfigError> {
        let mut layers = Layers::default();
        layers.add_file("h.toml".into(), text).map(|()| layers)
    }

    #[test]
    fn stronger_layers_win() {
        let mut layers = Layers::default();
        layers.add("server.listen", "flag:1".into(), Origin::Flag).expect("known");
        let vars =
            [("HIVEMEM_SERVER_LISTEN", "env:1"), ("HIVEMEM_MEMORY_MID_TTL", "1d"), ("HOME", "x")];
        layers.add_environment(vars.into_iter().map(|(k, v)| (k.into(), v.into()))).expect("known");
        layers
            .add_file("h.toml".into(), "[memory]\nmid_ttl = \"2d\"\nshort_ttl = \"1h\"\n")
            .expect("valid");
        assert_eq!(layers.get("server.listen"), ("flag:1".into(), Origin::Flag));
        assert_eq!(layers.get("memory.mid_ttl").0, "1d");
        assert_eq!(
            layers.get("memory.short_ttl").1,
            Origin::File { path: "h.toml".into(), line: 3 }
        );
        assert_eq!(layers.get("log.filter"), ("info".into(), Origin::Default));
    }

    #[test]
    fn unknown_keys_name_their_line_and_the_nearest_key() {
        let error =
            file("# a comment\n\n[server]\nlisten = \"x\"\nlisten_max = 3\n").expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "h.toml:5: unknown setting \"server.listen_max\"; did you mean \"server.listen\"?"
        );
        assert!(
            file("[sever]\nlisten = 1\n").expect_err("unknown").to_string().starts_with("h.toml:1")
        );
        assert!(file("a = \n").expect_err("syntax").to_string().starts_with("h.toml:1:"));
        let mut layers = Layers::default();
        let vars = [("HIVEMEM_LISTEN".to_owned(), "x".to_owned())];
        assert!(layers.add_environment(vars.into_iter()).is_err());
    }
}
