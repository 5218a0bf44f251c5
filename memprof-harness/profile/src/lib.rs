//! Heap profiles as `cargo memprof` makes them: the model, the way from a recording to names, and files and text made of a profile.
//!
//! The stages, in order:
//!
//! 1. A recorded process leaves a *ledger*: counters, and stacks of addresses with their metrics ([`ledger`]).
//! 2. [`symbolize`] gives the addresses names and makes a [`Profile`] of each ledger.
//! 3. [`model`] merges profiles and scales sampled metrics.
//! 4. [`export`] writes a profile as pprof or as a flame graph, [`import`] reads pprof back, [`view`] makes text of metrics.
//!
//! A metric is an object count or a number of bytes, as its name says: `alloc_objects`, `alloc_space`. Stacks are leaf first, as in pprof.
//!
//! Only [`symbolize`] touches files: it reads the objects that addresses lie in. All else takes values and gives values.
//!
//! # From a recording to a file that `go tool pprof` reads
//!
//! ```no_run
//! use memprof_profile::symbolize::{NoStore, SourceRoots, Request, Trimming, assemble, modules};
//! use memprof_profile::{About, SampleRate, export, ledger};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ledger = ledger::read(&std::fs::read("a.ledger")?)?;
//! let source_roots = SourceRoots { workspace: "/home/me/app".into(), beside: Vec::new() };
//! let mut request = Request::default();
//! let map = request.add(&modules(&ledger, &ledger.identity.exe), ledger.stacks.addresses());
//! let symbols = request.resolve(&NoStore, &source_roots, &|_| ());
//! let about = About { rate: SampleRate(ledger.rate), ..About::default() };
//! let profile = assemble(ledger, &map, &symbols, about, Trimming::Glue);
//! std::fs::write("a.pb.gz", export::pprof::export(&profile))?;
//! # Ok(())
//! # }
//! ```
//!
//! # A profile by hand, written and read back
//!
//! ```
//! use memprof_profile::model::function::{Function, Origin};
//! use memprof_profile::model::location::{Frame, Location};
//! use memprof_profile::symbolize::SourceRoots;
//! use memprof_profile::{About, Estimated, ProfileBuilder, SampleRate, ValueType, export, import};
//!
//! let mut builder = ProfileBuilder::default();
//! let mut stack = None;
//! // The root of the stack comes first.
//! for name in ["main", "parse"] {
//!     let tables = builder.tables();
//!     let (name, file) = (tables.strings.intern(name), tables.strings.intern("/home/me/app/src/main.rs"));
//!     let function = tables.functions.intern(Function { name, file, origin: Origin::Workspace });
//!     let frames = Box::new([Frame { function, line: 7, column: 1 }]);
//!     let location = tables.locations.intern(Location { mapping: None, address: 0, frames });
//!     stack = Some(builder.stack(stack, location));
//! }
//! let mut values = Estimated::default();
//! values[ValueType::AllocObjects] = 2;
//! values[ValueType::AllocSpace] = 48;
//! builder.add(stack.expect("it has two calls"), None, 24, &values);
//! let profile = builder.finish(About { rate: SampleRate(1), ..About::default() });
//!
//! let bytes = export::pprof::export(&profile);
//! let source_roots = SourceRoots { workspace: "/home/me/app".into(), beside: Vec::new() };
//! let read = import::import(&bytes, &source_roots)?;
//! assert_eq!(read.samples[0].values[ValueType::AllocSpace], 48);
//! assert_eq!(export::pprof::export(&read), bytes);
//! # Ok::<(), import::ImportError>(())
//! ```
//!
//! # Totals of a call tree, and its flame graph
//!
//! ```
//! use memprof_profile::{Profile, ValueType, export, model::tree::Tree};
//!
//! fn picture(profile: &Profile) -> Option<Vec<u8>> {
//!     let tree = Tree::of(profile);
//!     let totals = tree.totals(ValueType::PeakSpace);
//!     for (number, (_, node)) in tree.iter().enumerate().filter(|(_, (_, node))| node.caller.is_none()) {
//!         let name = profile.strings.get(profile.functions.get(node.function).name);
//!         println!("{name}: {} bytes at the peak, with all it called", totals[number]);
//!     }
//!     export::flamegraph::export(profile, &tree, ValueType::PeakSpace, "my program")
//! }
//! assert_eq!(picture(&Profile::default()), None);
//! ```

#![warn(missing_docs)]
#![forbid(unsafe_code)]

// A ledger can be read where it can be written.
#[cfg(not(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64")))]
compile_error!("recordings of allocations are read on 64-bit Linux and macOS only");

pub use memprof_harness::ledger;
pub use model::scale::SampleRate;
pub use model::values::{Estimated, ValueType};
pub use model::{About, Profile, ProfileBuilder};

pub mod model;
pub mod symbolize;

pub mod export;
pub mod import;
pub mod proto;

pub mod record;
pub mod view;

pub mod parallel;

#[cfg(test)]
mod purity;
