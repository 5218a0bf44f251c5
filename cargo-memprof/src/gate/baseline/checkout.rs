//! The files of another revision: finds this run's package among them, and keeps cargo from taking them for a part of
//! the user's own workspace, in whose folder they lie.

use crate::context::cargo_args::CargoArgs;
use crate::files::intake;
use crate::files::outlet;
use crate::git::{Copy, Git};
use camino::{Utf8Path, Utf8PathBuf};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

const MANIFEST: &str = "Cargo.toml";
const MANIFEST_PATH: &str = "--manifest-path";
/// Letters of a revision's hash that are shown.
const SHORT: usize = 12;

/// A revision that is checked out.
pub struct Checkout<'a> {
    pub git: &'a Git,
    pub hash: String,
    /// Root of the user's repository.
    pub top: Utf8PathBuf,
    /// Root of the other checkout.
    pub tree: Utf8PathBuf,
}

/// Where the revision has what this run is of.
#[derive(Debug, PartialEq, Eq)]
pub struct PackageAt {
    pub manifest: Utf8PathBuf,
    /// The folder to run in.
    pub folder: Utf8PathBuf,
    /// What cargo is to be given.
    pub args: Vec<OsString>,
}

impl Checkout<'_> {
    pub fn shown(&self) -> &str {
        self.hash.get(..SHORT).unwrap_or(&self.hash)
    }

    /// Where this run, from folder `current` and with `given` for cargo, takes place in the revision: in the same folder, or
    /// where the package is that has moved since.
    ///
    /// # Errors
    /// Where the revision has neither; says so.
    pub fn package(&self, current: &Utf8Path, given: &CargoArgs) -> Result<PackageAt, String> {
        let (named, args) = self.without_manifest(given);
        let ours = match &named {
            Some(path) => current.join(path),
            None => nearest_manifest(current).ok_or("there is no `Cargo.toml` here")?,
        };
        let same = self.place_of(&ours).filter(|manifest| manifest.exists());
        let folder = self.place_of(current).filter(|folder| folder.exists());
        if let Some(manifest) = same {
            let mut args = args;
            if named.is_some() {
                args.splice(0..0, [MANIFEST_PATH.into(), manifest.clone().into()]);
            }
            let folder = folder.unwrap_or_else(|| self.folder_of(&manifest));
            return Ok(PackageAt { manifest, folder, args });
        }
        let relative = ours.strip_prefix(&self.top).unwrap_or(&ours);
        let name = package_name(&ours).ok_or_else(|| format!("the revision has no `{relative}`"))?;
        let manifest = self.manifest_of(&name);
        let manifest =
            manifest.ok_or_else(|| format!("the revision has no `{relative}`, and no package `{name}` elsewhere"))?;
        Ok(PackageAt { folder: self.folder_of(&manifest), manifest, args })
    }

    /// The root of the workspace that `package` is in. Where cargo would look for it outside the checkout, the package is made
    /// one of its own.
    pub fn workspace_of(&self, package: &PackageAt) -> Utf8PathBuf {
        let arguments = ["locate-project", "--workspace", "--message-format", "plain", MANIFEST_PATH];
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo).args(arguments).arg(&package.manifest).output();
        let root = output.ok().filter(|output| output.status.success()).map(|output| {
            let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
            self.folder_of(Utf8Path::new(&text))
        });
        if let Some(root) = root.filter(|root| root.starts_with(&self.tree)) {
            return root;
        }
        // What cannot be read or written here is cargo's to complain about.
        if let Some(text) = text_of(&package.manifest)
            && text.parse::<toml::Table>().is_ok_and(|manifest| !manifest.contains_key("workspace"))
        {
            let _ = outlet::put(&package.manifest, format!("{text}\n[workspace]\n"));
        }
        self.folder_of(&package.manifest)
    }

    fn folder_of(&self, manifest: &Utf8Path) -> Utf8PathBuf {
        manifest.parent().unwrap_or(&self.tree).to_owned()
    }

    /// Where `path` of the user's checkout is in the other; `None` where it is outside.
    fn place_of(&self, path: &Utf8Path) -> Option<Utf8PathBuf> {
        path.strip_prefix(&self.top).ok().map(|inside| self.tree.join(inside))
    }

    /// The manifest of the package with this name.
    fn manifest_of(&self, name: &str) -> Option<Utf8PathBuf> {
        let manifests = Copy::at(self.git, &self.tree).tracked(&[MANIFEST, "*/Cargo.toml"]).ok()?;
        manifests.into_iter().find(|manifest| package_name(manifest).as_deref() == Some(name))
    }

    /// Takes the manifest that the user named out of the arguments, and leads paths into the user's checkout into the other.
    fn without_manifest(&self, given: &CargoArgs) -> (Option<Utf8PathBuf>, Vec<OsString>) {
        let (mut named, mut rest) = (None, Vec::new());
        let mut arguments = given.arguments();
        for argument in arguments.by_ref() {
            match argument.value_of("manifest-path") {
                Some(path) => named = Some(Utf8PathBuf::from(path.to_string_lossy().into_owned())),
                None => rest.extend(argument.words.iter().map(|word| self.translated(word))),
            }
        }
        rest.extend_from_slice(arguments.rest());
        (named, rest)
    }

    /// An argument in which a path into the user's checkout leads into the other.
    fn translated(&self, arg: &OsStr) -> OsString {
        let text = arg.to_string_lossy();
        let (flag, path) = text.split_once('=').map_or(("", &*text), |(flag, path)| (flag, path));
        match self.place_of(Utf8Path::new(path)).filter(|_| Path::new(path).is_absolute()) {
            Some(path) if flag.is_empty() => path.into_string().into(),
            Some(path) => format!("{flag}={path}").into(),
            None => arg.to_owned(),
        }
    }
}

/// The manifest that cargo takes in `folder`.
fn nearest_manifest(folder: &Utf8Path) -> Option<Utf8PathBuf> {
    folder.ancestors().map(|folder| folder.join(MANIFEST)).find(|manifest| manifest.exists())
}

fn text_of(manifest: &Utf8Path) -> Option<String> {
    String::from_utf8(intake::read(manifest.as_std_path()).ok()?).ok()
}

/// The name of a manifest's package; `None` where it has none.
fn package_name(manifest: &Utf8Path) -> Option<String> {
    let table: toml::Table = text_of(manifest)?.parse().ok()?;
    table.get("package")?.get("name")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::cargo_flags::Tool;

    #[test]
    fn paths_into_the_checkout_lead_into_the_other() {
        let git = Git::find().unwrap();
        let (top, tree) = ("/repo".into(), "/t/tree".into());
        let checkout = Checkout { git: &git, hash: "0123456789abcdef".into(), top, tree };
        let translated = |arg: &str| checkout.translated(OsStr::new(arg)).into_string().unwrap();
        assert_eq!(translated("/repo/a/more.toml"), "/t/tree/a/more.toml");
        assert_eq!(translated("--config=/repo/more.toml"), "--config=/t/tree/more.toml");
        assert_eq!(translated("a/Cargo.toml"), "a/Cargo.toml");
        assert_eq!(translated("/elsewhere/Cargo.toml"), "/elsewhere/Cargo.toml");
        assert_eq!(checkout.shown(), "0123456789ab");
    }

    #[test]
    fn the_same_folder_is_the_place_and_a_manifest_is_named_again() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temporary.path()).unwrap();
        let git = Git::find().unwrap();
        let checkout = Checkout { git: &git, hash: String::new(), top: root.join("repo"), tree: root.join("tree") };
        for file in ["repo/Cargo.toml", "repo/a/Cargo.toml", "tree/Cargo.toml", "tree/a/Cargo.toml"] {
            let path = root.join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "[package]\nname = 'p'\n").unwrap();
        }
        fs_err::create_dir_all(root.join("repo/a/src/new")).unwrap();
        let args = |words: &str| words.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        let cargo = |words: &str| CargoArgs::read(Tool::Cargo, args(words));
        let package = checkout.package(&root.join("repo/a/src/new"), &cargo("--lib -- --manifest-path x")).unwrap();
        assert_eq!((package.manifest, package.folder), (root.join("tree/a/Cargo.toml"), root.join("tree/a")));
        assert_eq!(package.args, args("--lib -- --manifest-path x"));
        let package = checkout.package(&root.join("repo"), &cargo("--lib --manifest-path a/Cargo.toml")).unwrap();
        assert_eq!(package.folder, root.join("tree"));
        assert_eq!(package.args, args(&format!("--manifest-path {root}/tree/a/Cargo.toml --lib")));
        fs_err::write(root.join("repo/b.toml"), "[workspace]\n").unwrap();
        let missing = checkout.package(&root.join("repo"), &cargo("--manifest-path=b.toml")).unwrap_err();
        assert_eq!(missing, "the revision has no `b.toml`");
    }
}
