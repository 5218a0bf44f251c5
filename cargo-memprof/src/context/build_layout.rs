//! Where cargo puts what it builds. The one file that knows the folders by name: they are cargo's own business, and change.
//!
//! | cargo | what rustc writes | the program that cargo shows |
//! | --- | --- | --- |
//! | up to 1.99 | `debug/deps/NAME-HASH` | `debug/NAME`; an example is `debug/examples/NAME`, beside what rustc wrote |
//! | from 1.100, `-Zbuild-dir-new-layout` before | `debug/build/PACKAGE/HASH/out/NAME` | `debug/NAME`, `debug/examples/NAME` |
//!
//! The program that cargo shows is a link to what rustc wrote, or a copy where the file system has no links, and has hyphens
//! where that has underscores. Tests are not shown anywhere else. `build.build-dir`, which would put one of the two elsewhere, is the same
//! folder as ours in every call that we make.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder of all that rustc writes, in the old layout.
const DEPS: &str = "deps";
/// The folder of a folder for each package, in the new one.
const BUILD: &str = "build";
/// In each of those, below a hash: what rustc writes.
const OUT: &str = "out";
/// The folder of the examples that cargo shows.
const EXAMPLES: &str = "examples";

/// The file that rustc wrote of which cargo shows `program`; `None` = there is none, or it is `program` itself. Only files for which
/// `is_known` are looked at.
pub fn written_by_rustc(program: &Path, is_known: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let metadata = fs_err::metadata(program).ok()?;
    let known: Vec<(PathBuf, Metadata)> = candidates(program)
        .into_iter()
        .filter(|path| path != program && is_known(path))
        .filter_map(|path| fs_err::metadata(&path).ok().map(|found| (path, found)))
        .collect();
    let linked = |found: &Metadata| (found.dev(), found.ino()) == (metadata.dev(), metadata.ino());
    if let Some((path, _)) = known.iter().find(|(_, found)| linked(found)) {
        return Some(path.clone());
    }
    let same_length = known.into_iter().filter(|(_, found)| found.len() == metadata.len());
    let bytes = fs_err::read(program).ok()?;
    same_length.map(|(path, _)| path).find(|path| fs_err::read(path).is_ok_and(|found| found == bytes))
}

/// Where rustc may have written `program`, by the name: the same with a hash, or without.
fn candidates(program: &Path) -> Vec<PathBuf> {
    let shown_in = program.parent().unwrap_or(program);
    let profile = if shown_in.ends_with(EXAMPLES) { shown_in.parent().unwrap_or(shown_in) } else { shown_in };
    let packages = entries(&profile.join(BUILD));
    let outs = packages.iter().flat_map(|package| entries(package)).map(|hash| hash.join(OUT));
    let folders = [profile.join(DEPS), shown_in.to_owned()].into_iter().chain(outs);
    let name = program.file_name().unwrap_or_default().to_string_lossy().replace('-', "_");
    let is_named = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.strip_prefix(&*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    folders.flat_map(|folder| entries(&folder)).filter(is_named).collect()
}

/// What is in a folder, sorted; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_both_layouts_whether_it_is_a_link_or_a_copy() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        let write = |path: &str, text: &str| {
            fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs_err::write(root.join(path), text).unwrap();
        };
        for (written, shown) in [
            ("debug/deps/k_x-01", "debug/k-x"),
            ("debug/build/places/02/out/n_x", "debug/n-x"),
            ("debug/examples/e_x-03", "debug/examples/e-x"),
            ("debug/build/places/04/out/f_x", "debug/examples/f-x"),
        ] {
            write(written, shown);
            // Others of like names, one of them as long.
            write(&format!("{written}y"), shown);
            write(&written.replace("debug/build/places/0", "debug/build/places/1"), "other");
            fs_err::create_dir_all(root.join(shown).parent().unwrap()).unwrap();
            fs_err::hard_link(root.join(written), root.join(shown)).unwrap();
            let found = |is_known: &dyn Fn(&Path) -> bool| written_by_rustc(&root.join(shown), is_known);
            assert_eq!(found(&|_| true), Some(root.join(written)), "{shown}");
            assert_eq!(found(&|path| !path.ends_with(written)), None, "{shown}");
            fs_err::remove_file(root.join(shown)).unwrap();
            fs_err::copy(root.join(written), root.join(shown)).unwrap();
            assert_eq!(found(&|_| true), Some(root.join(written)), "{shown}");
            fs_err::write(root.join(shown), "another").unwrap();
            assert_eq!(found(&|_| true), None, "{shown}");
        }
    }

    /// Folders below the root of this workspace.
    fn sources(below: &Path, into: &mut Vec<PathBuf>) {
        for path in entries(below) {
            match path.is_dir() {
                true => sources(&path, into),
                false => into.push(path),
            }
        }
    }

    #[test]
    fn no_other_file_names_the_folder_that_has_gone() {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        sources(&own.join("src"), &mut files);
        sources(&own.join("../memprof-harness/src"), &mut files);
        assert!(files.len() > 100, "{}", files.len());
        let named = format!("\"{DEPS}\"");
        let name_it = |path: &&PathBuf| fs_err::read_to_string(path).is_ok_and(|text| text.contains(&named));
        let named: Vec<&PathBuf> = files.iter().filter(name_it).collect();
        assert!(named.len() == 1 && named[0].ends_with("context/build_layout.rs"), "{named:?}");
    }
}
