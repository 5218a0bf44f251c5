//! One loaded object: its build id, and what its symbols and debug information say of addresses. The only file that
//! opens DWARF.

use super::name;
use super::symbols::{Resolved, ResolvedFrame};
use addr2line::Loader;
use object::{Object, ObjectSymbol, ReadCache, SymbolKind};
use std::cell::LazyCell;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// What tells one build of an object from another, as hexadecimal text; `None`: the object carries no build id.
///
/// # Errors
/// Where the file cannot be read or is no object.
pub fn build_id(path: &Path) -> io::Result<Option<String>> {
    let cache = ReadCache::new(open(path)?);
    let object = object::File::parse(&cache).map_err(io::Error::other)?;
    let id = object.build_id().map_err(io::Error::other)?;
    Ok(id.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// What `path` knows of each of `addresses`, which are the object's own, in their order. `advance` is told how many more
/// were done.
///
/// # Errors
/// Where the file cannot be read or is no object. Damaged debug information is no error: those addresses have no
/// frames.
pub fn resolve(path: &Path, addresses: &[u64], advance: &(dyn Fn(u64) + Sync)) -> io::Result<Vec<Resolved>> {
    drop(open(path)?);
    let loader = Loader::new(path).map_err(|error| io::Error::other(error.to_string()))?;
    let symbols = LazyCell::new(|| Symbols::read(path).unwrap_or_default());
    let mut resolved = Vec::with_capacity(addresses.len());
    for some in addresses.chunks(STEP) {
        resolved.extend(some.iter().map(|&address| resolve_one(&loader, &symbols, address)));
        advance(some.len() as u64);
    }
    Ok(resolved)
}

/// Opens what is a file: a ledger may name anything, and reading a pipe would never end.
fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path)
}

/// Addresses between two signs of life.
const STEP: usize = 64;

fn resolve_one(loader: &Loader, symbols: &impl Deref<Target = Symbols>, address: u64) -> Resolved {
    let mut frames = Vec::new();
    if let Ok(mut found) = loader.find_frames(address) {
        while let Ok(Some(frame)) = found.next() {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let place = frame.location.as_ref();
            frames.push(RawFrame {
                symbol: name.map(|name| name.into_owned()),
                file: place.and_then(|place| place.file).unwrap_or_default().to_owned(),
                line: place.and_then(|place| place.line).unwrap_or(0),
                column: place.and_then(|place| place.column).unwrap_or(0),
            });
        }
    }
    let has_lines = !frames.is_empty();
    name_outermost(symbols, address, &mut frames);
    let frames = frames.into_iter().filter_map(RawFrame::named).collect();
    Resolved { address, frames, has_lines }
}

/// A frame as debug information has it.
struct RawFrame {
    symbol: Option<String>,
    file: String,
    line: u32,
    column: u32,
}

impl RawFrame {
    fn named(self) -> Option<ResolvedFrame> {
        let name = name::readable(&self.symbol?);
        Some(ResolvedFrame { name, file: tidy(self.file), line: self.line, column: self.column })
    }
}

/// The function that the code at `address` belongs to has a symbol of its own, whatever was inlined there. Where debug
/// information has no full name of it, or there is none at all, the symbol table has.
fn name_outermost(symbols: &impl Deref<Target = Symbols>, address: u64, frames: &mut Vec<RawFrame>) {
    let has_name = |frame: &RawFrame| frame.symbol.as_deref().is_some_and(name::is_mangled);
    if frames.last().is_some_and(has_name) {
        return;
    }
    let Some(symbol) = symbols.at(address) else { return };
    match frames.last_mut() {
        Some(frame) => frame.symbol = Some(symbol.to_owned()),
        None => frames.push(RawFrame { symbol: Some(symbol.to_owned()), file: String::new(), line: 0, column: 0 }),
    }
}

/// The functions in an object's symbol tables.
#[derive(Default)]
struct Symbols {
    /// First address, size in bytes, name; by address.
    sorted: Vec<(u64, u64, String)>,
}

impl Symbols {
    fn read(path: &Path) -> io::Result<Symbols> {
        let cache = ReadCache::new(File::open(path)?);
        let object = object::File::parse(&cache).map_err(io::Error::other)?;
        let mut sorted: Vec<(u64, u64, String)> = object
            .symbols()
            .chain(object.dynamic_symbols())
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?.to_owned())))
            .collect();
        sorted.sort();
        sorted.dedup();
        Ok(Symbols { sorted })
    }

    /// The function that `address` lies in. Between two functions there is code of nobody known: naming the nearest
    /// one below, as a table without sizes must, would put costs where they never were.
    fn at(&self, address: u64) -> Option<&str> {
        let after = self.sorted.partition_point(|(start, ..)| *start <= address);
        let near = self.sorted[..after].iter().rev().take(SHARED_ADDRESS);
        near.filter(|(start, size, _)| address - start < *size).map(|(.., name)| name.as_str()).next_back()
    }
}

/// How many symbols at or below an address are looked at: several names may stand for one function, and an empty
/// symbol may stand inside one.
const SHARED_ADDRESS: usize = 8;

/// `file` without steps that lead nowhere.
fn tidy(file: String) -> String {
    if file.contains("/./") { file.replace("/./", "/") } else { file }
}
