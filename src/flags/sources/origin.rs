//! Where the value of an option came from.

use std::collections::BTreeMap;
use std::fmt;

/// What said a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Variable(String),
    /// A configuration file, by its path and line.
    File(String),
    /// Nobody.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("flag"),
            Origin::Variable(name) => f.write_str(name),
            Origin::File(place) => f.write_str(place),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// What said the value of each option, by clap's id of it.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    said: BTreeMap<String, Origin>,
}

impl Origins {
    pub(super) fn set(&mut self, id: &str, origin: Origin) {
        self.said.insert(id.to_owned(), origin);
    }

    /// What said the value of an option.
    pub fn of(&self, id: &str) -> Origin {
        self.said.get(id).cloned().unwrap_or(Origin::Default)
    }
}
