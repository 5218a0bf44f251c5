//! What is known of the addresses of one object: compact, shared by all tests, and the contents of a cache file.

use crate::model::IdMap;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

/// What was found at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub address: u64,
    /// Innermost first; empty where nothing is known.
    pub frames: Vec<ResolvedFrame>,
    /// Whether debug information covers it.
    pub has_lines: bool,
}

/// One function at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedFrame {
    pub name: String,
    /// Empty where it is not known.
    pub file: String,
    /// 0 = not known.
    pub line: u32,
    /// 0 = not known.
    pub column: u32,
}

/// All addresses of one object that were ever asked for.
#[derive(Debug, Default)]
pub struct SymbolTable {
    functions: Vec<NamedFunction>,
    frames: Vec<TableFrame>,
    addresses: IdMap<u64, AddressFrames>,
    ids: HashMap<NamedFunction, u32>,
}

/// A function as debug information names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedFunction {
    pub name: String,
    /// Empty where it is not known.
    pub file: String,
}

/// One frame of a table; `function` is an index into [`SymbolTable::functions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFrame {
    pub function: u32,
    /// 0 = not known.
    pub line: u32,
    /// 0 = not known.
    pub column: u32,
}

#[derive(Debug, Clone, Copy)]
struct AddressFrames {
    first: u32,
    len: u32,
    has_lines: bool,
}

impl SymbolTable {
    /// The functions in the order of their indices.
    pub fn functions(&self) -> &[NamedFunction] {
        &self.functions
    }

    /// Whether `address` was resolved, with whatever result.
    pub fn contains(&self, address: u64) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Where the frames at `address` are in [`SymbolTable::frames`]; empty where nothing is known.
    pub fn range(&self, address: u64) -> Range<usize> {
        let Some(entry) = self.addresses.get(&address) else { return 0..0 };
        entry.first as usize..(entry.first + entry.len) as usize
    }

    /// The frames of all addresses, innermost first within each.
    pub fn frames(&self) -> &[TableFrame] {
        &self.frames
    }

    /// Whether debug information covers any address.
    pub fn has_lines(&self) -> bool {
        self.addresses.values().any(|entry| entry.has_lines)
    }

    /// Takes in what was found at one more address.
    pub fn insert(&mut self, resolved: Resolved) {
        let first = self.frames.len() as u32;
        for frame in resolved.frames {
            let function = NamedFunction { name: frame.name, file: frame.file };
            let next = self.functions.len() as u32;
            let id = match self.ids.get(&function) {
                Some(&id) => id,
                None => {
                    self.functions.push(function.clone());
                    self.ids.insert(function, next);
                    next
                }
            };
            self.frames.push(TableFrame { function: id, line: frame.line, column: frame.column });
        }
        let len = self.frames.len() as u32 - first;
        self.addresses.insert(resolved.address, AddressFrames { first, len, has_lines: resolved.has_lines });
    }

    /// The table as plain values, by address.
    pub fn to_stored(&self) -> Stored {
        let mut addresses: Vec<_> = self.addresses.iter().collect();
        addresses.sort_unstable_by_key(|(address, _)| **address);
        let frames = |entry: &AddressFrames| {
            let frames = &self.frames[entry.first as usize..(entry.first + entry.len) as usize];
            frames.iter().map(|frame| (frame.function, frame.line, frame.column)).collect()
        };
        Stored {
            functions: self.functions.clone(),
            addresses: addresses.into_iter().map(|(at, entry)| (*at, entry.has_lines, frames(entry))).collect(),
        }
    }

    /// The table that `stored` was made from; `None` where it refers to what it does not have.
    pub fn from_stored(stored: Stored) -> Option<SymbolTable> {
        let mut table = SymbolTable::default();
        for (address, has_lines, frames) in stored.addresses {
            let first = table.frames.len() as u32;
            for (function, line, column) in frames {
                if function as usize >= stored.functions.len() {
                    return None;
                }
                table.frames.push(TableFrame { function, line, column });
            }
            let len = table.frames.len() as u32 - first;
            table.addresses.insert(address, AddressFrames { first, len, has_lines });
        }
        let ids = stored.functions.iter().enumerate().map(|(index, function)| (function.clone(), index as u32));
        table.ids = ids.collect();
        table.functions = stored.functions;
        Some(table)
    }
}

/// A symbol table as it is kept on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    functions: Vec<NamedFunction>,
    /// By address.
    addresses: Vec<StoredAddress>,
}

/// Address, whether debug information covers it, and per frame function, line, column.
type StoredAddress = (u64, bool, Vec<(u32, u32, u32)>);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, line: u32) -> ResolvedFrame {
        ResolvedFrame { name: name.into(), file: "/a.rs".into(), line, column: 3 }
    }

    #[test]
    fn a_stored_table_comes_back_the_same() {
        let mut table = SymbolTable::default();
        table.insert(Resolved { address: 7, frames: vec![frame("f", 1), frame("g", 2)], has_lines: true });
        table.insert(Resolved { address: 3, frames: vec![frame("g", 9)], has_lines: true });
        table.insert(Resolved { address: 5, frames: vec![], has_lines: false });
        let back = SymbolTable::from_stored(table.to_stored()).expect("it is whole");
        assert_eq!(back.to_stored(), table.to_stored());
        assert_eq!(back.functions().len(), 2);
        assert!(back.contains(5) && !back.contains(6));
        let lines: Vec<u32> = back.frames()[back.range(7)].iter().map(|frame| frame.line).collect();
        assert_eq!(lines, [1, 2]);
    }

    #[test]
    fn a_stored_table_that_refers_to_nothing_is_refused() {
        let stored = Stored { functions: vec![], addresses: vec![(1, true, vec![(0, 1, 1)])] };
        assert!(SymbolTable::from_stored(stored).is_none());
    }
}
