//! The strings of a profile, each kept once.

use super::table::{RowId, row_id};
use std::collections::HashMap;
use std::sync::Arc;

row_id! {
    /// Stands for a string of one profile.
    StringId
}

/// Distinct strings in the order in which they were first met. The first is always the empty one, as pprof wants it.
#[derive(Debug, Clone)]
pub struct Strings {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, StringId>,
}

impl Strings {
    /// The id of `text`, which is added if it is new.
    pub fn intern(&mut self, text: &str) -> StringId {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = StringId::from_index(self.texts.len());
        let shared: Arc<str> = text.into();
        self.texts.push(Arc::clone(&shared));
        self.ids.insert(shared, id);
        id
    }

    /// The string that `id` stands for.
    pub fn get(&self, id: StringId) -> &str {
        &self.texts[id.index()]
    }

    /// Every string, in the order of the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.texts.iter().map(AsRef::as_ref)
    }
}

impl Default for Strings {
    fn default() -> Self {
        let mut strings = Strings { texts: Vec::new(), ids: HashMap::new() };
        strings.intern("");
        strings
    }
}
