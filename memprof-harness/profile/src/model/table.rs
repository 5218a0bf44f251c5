//! A table of distinct rows, each known by a typed id. The tables of a profile are all of this kind.

use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;

/// An id: the number of a row.
pub trait RowId: Copy + Eq {
    /// The id of row `index`.
    fn from_index(index: usize) -> Self;
    /// The row it is the id of.
    fn index(self) -> usize;
}

/// Defines an id type for the rows of one table: the row's number plus 1, so that an `Option` of it is as small.
macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::num::NonZeroU32);

        impl $crate::model::table::RowId for $name {
            fn from_index(index: usize) -> Self {
                let number = u32::try_from(index + 1).ok().and_then(std::num::NonZeroU32::new);
                $name(number.expect("no profile has 2^32 rows in one table"))
            }

            fn index(self) -> usize {
                self.0.get() as usize - 1
            }
        }
    };
}
pub(crate) use row_id;

/// Rows in the order in which they were first added, no two of them equal.
#[derive(Debug, Clone)]
pub struct Table<K, T> {
    rows: Vec<T>,
    ids: HashMap<T, u32>,
    key: PhantomData<K>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Table { rows: Vec::new(), ids: HashMap::new(), key: PhantomData }
    }
}

impl<K: RowId, T: Clone + Eq + Hash> Table<K, T> {
    /// The id of `row`, which is added if it is new.
    pub fn intern(&mut self, row: T) -> K {
        if let Some(&index) = self.ids.get(&row) {
            return K::from_index(index as usize);
        }
        let id = K::from_index(self.rows.len());
        self.ids.insert(row.clone(), id.index() as u32);
        self.rows.push(row);
        id
    }

    /// The row that `id` is the id of.
    pub fn get(&self, id: K) -> &T {
        &self.rows[id.index()]
    }

    /// Every row with its id, in the order of the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (K, &T)> {
        self.rows.iter().enumerate().map(|(index, row)| (K::from_index(index), row))
    }
}
