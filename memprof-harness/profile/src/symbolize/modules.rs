//! The objects of a run: every process has them at other addresses, and they are one table for all.

use super::module;
use memprof_harness::ledger::Module;
use std::collections::HashMap;
use std::path::PathBuf;

/// Index of an object in [`Modules`].
pub type ModuleIndex = u32;

/// Every object that any process of the run had loaded, in the order in which they were met.
#[derive(Debug, Default)]
pub struct Modules {
    objects: Vec<Object>,
    ids: HashMap<PathBuf, ModuleIndex>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub path: PathBuf,
    /// Hexadecimal; `None`: it has none, or could not be read.
    pub build_id: Option<String>,
    /// Lowest address and end of what was loaded of it, in its own address space.
    pub start: u64,
    pub limit: u64,
}

impl Object {
    /// The last part of its path.
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// Where one process had its objects.
#[derive(Debug, Default)]
pub struct AddressMap {
    /// First address, end, what to take from an address, object; by first address, each once.
    ranges: Vec<(u64, u64, u64, ModuleIndex)>,
    /// First address and end of what several objects had, one after the other: which of them a stack means is not known. By address, none
    /// overlapping another.
    shared: Vec<(u64, u64)>,
}

impl Modules {
    /// Takes in the objects of one process, whenever it had them loaded.
    pub fn add(&mut self, modules: &[Module]) -> AddressMap {
        let mut ranges: Vec<(u64, u64, u64, ModuleIndex)> = Vec::with_capacity(modules.len());
        for module in modules {
            ranges.push((module.start, module.end, module.bias, self.object(module)));
        }
        ranges.sort_unstable();
        ranges.dedup();
        let mut shared: Vec<(u64, u64)> = Vec::new();
        // The range that reaches furthest of those before.
        let mut furthest = 0;
        for &(start, end, ..) in &ranges {
            if start < furthest {
                match shared.last_mut().filter(|(_, before)| start <= *before) {
                    Some((_, before)) => *before = end.min(furthest).max(*before),
                    None => shared.push((start, end.min(furthest))),
                }
            }
            furthest = furthest.max(end);
        }
        AddressMap { ranges, shared }
    }

    fn object(&mut self, module: &Module) -> ModuleIndex {
        let (start, limit) = (module.start.wrapping_sub(module.bias), module.end.wrapping_sub(module.bias));
        if let Some(&index) = self.ids.get(&module.path) {
            let object = &mut self.objects[index as usize];
            (object.start, object.limit) = (object.start.min(start), object.limit.max(limit));
            return index;
        }
        let index = self.objects.len() as ModuleIndex;
        // What is no file (`[vdso]`) or has gone has no build id either.
        let build_id = module::build_id(&module.path).ok().flatten();
        self.objects.push(Object { path: module.path.clone(), build_id, start, limit });
        self.ids.insert(module.path.clone(), index);
        index
    }

    /// The object of `index`.
    pub fn get(&self, index: ModuleIndex) -> &Object {
        &self.objects[index as usize]
    }

    /// Every object.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Object> {
        self.objects.iter()
    }
}

impl AddressMap {
    /// The object that the call before return address `address` is in, and the call's address there. A return address
    /// is the instruction after the call, which may belong to another line or even another function.
    pub fn locate(&self, address: u64) -> Option<(ModuleIndex, u64)> {
        let call = address.checked_sub(1)?;
        let after = self.ranges.partition_point(|(start, ..)| *start <= call);
        let (_, end, bias, index) = *self.ranges.get(after.checked_sub(1)?)?;
        let is_shared = || {
            let after = self.shared.partition_point(|(start, _)| *start <= call);
            after > 0 && call < self.shared[after - 1].1
        };
        (call < end && !is_shared()).then(|| (index, call.wrapping_sub(bias)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, start: u64, end: u64) -> Module {
        Module { bias: start, start, end, path: path.into() }
    }

    #[test]
    fn an_object_has_the_same_addresses_in_every_process() {
        let mut modules = Modules::default();
        let one = modules.add(&[module("/a", 0x1000, 0x2000), module("/b", 0x3000, 0x4000)]);
        let two = modules.add(&[module("/b", 0x7000, 0x8000)]);
        assert_eq!(one.locate(0x3011), Some((1, 0x10)));
        assert_eq!(two.locate(0x7011), Some((1, 0x10)));
        // A return address may be one past the end of what it returns into.
        assert_eq!(one.locate(0x2000), Some((0, 0xfff)));
        assert_eq!(one.locate(0x1000), None);
        assert_eq!(one.locate(0x2500), None);
        assert_eq!(one.locate(0), None);
    }

    #[test]
    fn what_two_objects_had_is_neithers() {
        let mut modules = Modules::default();
        let (a, b) = (module("/a", 0x1000, 0x2000), module("/b", 0x1800, 0x2800));
        // The same at the same place is one.
        let map = modules.add(&[a.clone(), b, a]);
        assert_eq!(map.locate(0x1101), Some((0, 0x100)));
        assert_eq!(map.locate(0x1900), None);
        assert_eq!(map.locate(0x2101), Some((1, 0x900)));
        let moved = Module { bias: 0, ..module("/a", 0x1000, 0x2000) };
        assert_eq!(modules.add(&[module("/a", 0x1000, 0x2000), moved]).locate(0x1101), None);
    }
}
