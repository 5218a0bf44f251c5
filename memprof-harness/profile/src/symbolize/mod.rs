//! From addresses to names. Only here is it known that there are ELF files and DWARF; what leaves this folder is a
//! [`Profile`](crate::model::Profile).
//!
//! All ledgers of a run are gone through for the addresses they name ([`Request`]), each distinct address of each object
//! is resolved once, on all cores, or taken from the cache ([`Request::resolve`]); then each ledger becomes a profile
//! ([`assemble()`]).

mod assemble;
mod cache;
mod module;
mod modules;
pub mod name;
mod origin;
mod symbols;
mod trim;

pub use assemble::{Trimming, assemble};
pub use cache::{NoStore, SymbolStore};
pub use modules::AddressMap;
pub use origin::SourceRoots;

use crate::model::IdSet;
use crate::model::function::Origin;
use crate::parallel::{cores, on_all_cores};
use cache::CacheKey;
use memprof_harness::ledger::{Ledger, Module};
use modules::{ModuleIndex, Modules};
use std::io;
use std::path::{Path, PathBuf};
use symbols::{Resolved, SymbolTable};
use trim::Role;

/// The objects of the process that left `ledger`. The loader has no name for the executable itself, which is at `exe`: where the ledger
/// says (`identity.exe`), or where a copy of it was kept.
pub fn modules(ledger: &Ledger, exe: &Path) -> Vec<Module> {
    let mut modules = ledger.modules.clone();
    for module in modules.iter_mut().filter(|module| module.path.as_os_str().is_empty()) {
        module.path = exe.to_owned();
    }
    modules
}

/// The addresses that want names.
#[derive(Debug, Default)]
pub struct Request {
    modules: Modules,
    /// By object.
    addresses: Vec<IdSet<u64>>,
}

/// The names of all addresses of a run.
#[derive(Debug, Default)]
pub struct Symbols {
    modules: Modules,
    /// By object.
    objects: Vec<ObjectSymbols>,
    /// Objects that could not be read, and why: their addresses stay as they are.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// What is known of one object, with what trimming and colouring need to know of each function.
#[derive(Debug, Default)]
struct ObjectSymbols {
    table: SymbolTable,
    /// By function.
    roles: Vec<Role>,
    /// By function.
    origins: Vec<Origin>,
    /// Of an address without a function.
    unknown: Role,
}

impl Request {
    /// Asks for `addresses`, the return addresses in the stacks of a process that had `modules` loaded: see [`modules`].
    pub fn add(&mut self, modules: &[Module], addresses: &[u64]) -> AddressMap {
        let map = self.modules.add(modules);
        self.addresses.resize_with(self.modules.iter().len(), IdSet::default);
        for (object, address) in addresses.iter().filter_map(|address| map.locate(*address)) {
            self.addresses[object as usize].insert(address);
        }
        map
    }

    /// How many addresses were asked for, each once for each object.
    pub fn addresses(&self) -> u64 {
        self.addresses.iter().map(|addresses| addresses.len() as u64).sum()
    }

    /// Resolves what was asked for, where `store` does not know it from an earlier run. `advance` is told how many more addresses are done, from any thread.
    pub fn resolve(
        self,
        store: &dyn SymbolStore,
        source_roots: &SourceRoots,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Symbols {
        let mut symbols = Symbols { modules: self.modules, ..Symbols::default() };
        let mut tables: Vec<(Option<CacheKey>, SymbolTable)> = Vec::new();
        let mut missing: Vec<(ModuleIndex, Vec<u64>)> = Vec::new();
        for (index, (object, addresses)) in symbols.modules.iter().zip(self.addresses).enumerate() {
            // What has no absolute path, such as `[vdso]`, was not loaded from a file.
            let key = CacheKey::of(&object.path, object.build_id.as_deref()).filter(|_| object.path.is_absolute());
            let table = key.as_ref().map(|key| cache::load(store, key)).unwrap_or_default();
            let (requested, known) =
                (addresses.len(), addresses.iter().filter(|address| table.contains(**address)).count());
            let mut new: Vec<u64> = addresses.into_iter().filter(|address| !table.contains(*address)).collect();
            advance((if object.path.is_absolute() { known } else { requested }) as u64);
            if object.path.is_absolute() && !new.is_empty() {
                new.sort_unstable();
                missing.push((index as ModuleIndex, new));
            }
            tables.push((key, table));
        }
        let mut grown: Vec<ModuleIndex> = Vec::new();
        for (index, outcome) in resolve_all(&symbols.modules, &missing, advance) {
            match outcome {
                Ok(resolved) => {
                    resolved.into_iter().for_each(|one| tables[index as usize].1.insert(one));
                    grown.push(index);
                }
                Err(error) => symbols.unreadable.push((symbols.modules.get(index).path.clone(), error.to_string())),
            }
        }
        symbols.unreadable.sort();
        symbols.unreadable.dedup();
        for (index, (key, table)) in tables.into_iter().enumerate() {
            if let Some(key) = key.filter(|_| grown.contains(&(index as ModuleIndex))) {
                cache::store(store, &key, &table);
            }
            let object = symbols.modules.get(index as ModuleIndex);
            symbols.objects.push(ObjectSymbols::new(table, &object.file_name(), source_roots));
        }
        symbols
    }
}

impl ObjectSymbols {
    fn new(table: SymbolTable, file_name: &str, source_roots: &SourceRoots) -> ObjectSymbols {
        let functions = table.functions();
        let roles = functions.iter().map(trim::role).collect();
        let origins = functions.iter().map(|function| source_roots.origin(&function.name, &function.file)).collect();
        ObjectSymbols { roles, origins, unknown: trim::role_of_unknown(file_name), table }
    }
}

/// Addresses that are worth opening an object once more for, on another core.
const SMALLEST_TASK: usize = 256;

/// Resolves `missing`, given by object and sorted, on all cores. Addresses that lie together are resolved together:
/// they share the units that have to be parsed.
fn resolve_all(
    modules: &Modules,
    missing: &[(ModuleIndex, Vec<u64>)],
    advance: &(dyn Fn(u64) + Sync),
) -> Vec<(ModuleIndex, io::Result<Vec<Resolved>>)> {
    let cores = cores();
    let mut tasks: Vec<(ModuleIndex, &[u64])> = Vec::new();
    for (index, addresses) in missing {
        let size = addresses.len().div_ceil(cores).max(SMALLEST_TASK);
        tasks.extend(addresses.chunks(size).map(|some| (*index, some)));
    }
    // The longest first, so that no core is left with it at the end.
    tasks.sort_by_key(|(_, addresses)| std::cmp::Reverse(addresses.len()));
    let mut results = on_all_cores(&tasks, |(index, addresses)| {
        (*index, module::resolve(&modules.get(*index).path, addresses, advance))
    });
    results.sort_by_key(|(index, _)| *index);
    results
}
