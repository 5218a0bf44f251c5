//! Makes a profile that `go tool pprof` reads of one ledger, and says on standard error what allocates most:
//!
//!     cargo run -p memprof-profile --example ledger_to_pprof LEDGER > profile.pb.gz

use memprof_profile::model::tree::Tree;
use memprof_profile::symbolize::{NoStore, Request, SourceRoots, Trimming, assemble, modules};
use memprof_profile::view::amount;
use memprof_profile::{About, SampleRate, ValueType, export, ledger};
use std::error::Error;
use std::io::Write;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: ledger_to_pprof LEDGER > profile.pb.gz")?;
    let ledger = ledger::read(&std::fs::read(path)?)?;
    let source_roots = SourceRoots { workspace: std::env::current_dir()?, beside: Vec::new() };
    let mut request = Request::default();
    let map = request.add(&modules(&ledger, &ledger.identity.exe), ledger.stacks.addresses());
    let symbols = request.resolve(&NoStore, &source_roots, &|_| ());
    for (object, why) in &symbols.unreadable {
        eprintln!("no names of `{}`: {why}", object.display());
    }
    let about = About { rate: SampleRate(ledger.rate), ..About::default() };
    let profile = assemble(ledger, &map, &symbols, about, Trimming::Glue);

    let tree = Tree::of(&profile);
    let mut roots: Vec<(u64, &str)> = tree
        .iter()
        .zip(tree.totals(ValueType::AllocSpace))
        .filter(|((_, node), _)| node.caller.is_none())
        .map(|((_, node), total)| (total, profile.strings.get(profile.functions.get(node.function).name)))
        .collect();
    roots.sort_by_key(|(total, _)| std::cmp::Reverse(*total));
    for (total, function) in roots {
        eprintln!("{:>12}  {function}", amount::bytes(total));
    }
    std::io::stdout().write_all(&export::pprof::export(&profile))?;
    Ok(())
}
