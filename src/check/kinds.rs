//! The kinds that scripts may name.

use std::collections::BTreeMap;

use crate::model::spec::{KindSpec, SettingSpec};

/// The kinds of connections, sources, sinks and log stores that a script may name. An embedding program adds its own.
#[derive(Clone, Debug, Default)]
pub struct Kinds(BTreeMap<&'static str, KindSpec>);

impl Kinds {
    /// Adds a kind; one of the same name is replaced.
    pub fn add(&mut self, spec: KindSpec) {
        self.0.insert(spec.name, spec);
    }

    /// The kind of this name.
    pub fn get(&self, name: &str) -> Option<&KindSpec> {
        self.0.get(name)
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &KindSpec> {
        self.0.values()
    }

    /// Every list of settings of every kind.
    pub fn setting_lists(&self) -> impl Iterator<Item = &'static [SettingSpec]> {
        self.iter().flat_map(|kind| {
            [Some(kind.connection), kind.source, kind.sink.map(|sink| sink.settings), kind.log]
                .into_iter()
                .flatten()
        })
    }
}

impl FromIterator<KindSpec> for Kinds {
    fn from_iter<I: IntoIterator<Item = KindSpec>>(specs: I) -> Self {
        let mut kinds = Kinds::default();
        specs.into_iter().for_each(|spec| kinds.add(spec));
        kinds
    }
}
