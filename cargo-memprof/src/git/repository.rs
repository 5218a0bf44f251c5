//! The user's repository. Nothing here writes to it.

use super::environment::{Setting, os_string};
use super::{Failure, Git};
use camino::{Utf8Path, Utf8PathBuf};

/// Keys of a repository's own configuration that decide what a checkout's files are like, or how what is missing is
/// fetched. Everything else (hooks, the work tree, branches, aliases) stays with the user.
const SHARED: [&str; 13] = [
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.symlinks",
    "core.filemode",
    "core.attributesfile",
    "core.sshcommand",
    "filter.*",
    "lfs.*",
    "url.*",
    "http.*",
    "credential.*",
    "protocol.*",
];

/// See the head of this file.
pub struct Repository<'a> {
    git: &'a Git,
    /// The root of the checkout.
    pub top: Utf8PathBuf,
}

/// What a clone of ours takes over.
pub struct Shared {
    /// The folder of the objects, absolute.
    pub objects: Utf8PathBuf,
    /// Names the commits at which the history ends; need not exist.
    pub shallow: Utf8PathBuf,
    /// Attributes that are not committed; need not exist.
    pub attributes: Utf8PathBuf,
    /// Each a line `hash name`, the names whole, in the order of the names.
    pub refs: Vec<String>,
    /// For one call at a time: there may be secrets among them.
    pub settings: Vec<Setting>,
    pub origin: Option<Origin>,
    pub submodules: Vec<Setting>,
}

/// The remote that submodules are relative to, and from which missing objects come.
pub struct Origin {
    /// Without a password, which is among the settings then.
    pub url: String,
    /// What the user left out when the repository was cloned; `None` = nothing.
    pub filter: Option<String>,
}

impl<'a> Repository<'a> {
    pub(super) fn around(git: &'a Git, folder: &Utf8Path) -> Result<Repository<'a>, Failure> {
        const HELP: &str = "run it in a checkout of git's; variables such as `GIT_DIR` are not looked at";
        let top = git.call().in_folder(folder).output(["rev-parse", "--show-toplevel"], HELP)?;
        let top = String::from_utf8_lossy(&top).trim_end_matches('\n').to_owned();
        Ok(Repository { git, top: top.into() })
    }

    /// The hash of the commit that `revision` names.
    ///
    /// # Errors
    /// Where there is none.
    pub fn commit(&self, revision: &str, folder: &Utf8Path) -> Result<String, Failure> {
        const HELP: &str =
            "name a revision that is here, such as `origin/main`; a shallow clone may need `git fetch origin main`";
        let commit = format!("{revision}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &commit];
        let hash = self.git.call().in_folder(folder).output(args, HELP)?;
        Ok(String::from_utf8_lossy(&hash).trim_end().to_owned())
    }

    /// The commits behind `good` up to `bad`, the oldest first, along the first parents. Empty where `good` is not among what led to `bad`.
    ///
    /// # Errors
    /// Where git does not answer.
    pub fn first_parents(&self, good: &str, bad: &str) -> Result<Vec<String>, Failure> {
        let base = self.git.call().in_folder(&self.top).first_line(["merge-base", good, bad])?;
        if base != good {
            return Ok(Vec::new());
        }
        let range = format!("{good}..{bad}");
        let list = ["rev-list", "--first-parent", "--reverse", "--end-of-options", &range];
        let commits = self.git.call().in_folder(&self.top).first_line(list)?;
        Ok(commits.lines().map(str::to_owned).collect())
    }

    /// The first line of the commit's message.
    pub fn subject(&self, commit: &str) -> Option<String> {
        let args = ["log", "-1", "--no-show-signature", "--no-notes", "--format=%s", "--end-of-options", commit];
        self.git.call().in_folder(&self.top).first_line(args).ok()
    }

    /// Whether a commit has the file, which lies in this repository's folder.
    pub fn has(&self, commit: &str, file: &Utf8Path) -> bool {
        let Ok(inside) = file.strip_prefix(&self.top) else { return false };
        let object = format!("{commit}:{inside}");
        self.git.call().in_folder(&self.top).first_line(["cat-file", "-e", &object]).is_ok()
    }

    /// Whether the file, which lies in this repository's folder, is among those that are committed next.
    pub fn tracks(&self, file: &Utf8Path) -> bool {
        let Ok(inside) = file.strip_prefix(&self.top) else { return false };
        let pattern = format!(":(top,literal){inside}");
        self.git.call().in_folder(&self.top).first_line(["ls-files", "--error-unmatch", "--", &pattern]).is_ok()
    }

    /// The last commit that changed the file, which lies in this repository's folder; `None` = it is in none.
    pub fn last_commit_of(&self, file: &Utf8Path) -> Option<String> {
        let inside = file.strip_prefix(&self.top).ok()?;
        let pattern = format!(":(top,literal){inside}");
        let hash = self
            .git
            .call()
            .in_folder(&self.top)
            .first_line(["log", "-1", "--no-show-signature", "--no-notes", "--format=%H", "--", &pattern])
            .ok()?;
        Some(hash).filter(|hash| !hash.is_empty())
    }

    /// The commits that changed the file, which lies in this repository's folder, along the first parents, the oldest of the last `most` first: hash,
    /// date and the first line of the message of each.
    ///
    /// # Errors
    /// Where git does not answer.
    pub fn commits_of(&self, file: &Utf8Path, most: usize) -> Result<Vec<[String; 3]>, Failure> {
        let Ok(inside) = file.strip_prefix(&self.top) else { return Ok(Vec::new()) };
        let (pattern, most) = (format!(":(top,literal){inside}"), format!("--max-count={most}"));
        let list = [
            "log",
            &most,
            "--first-parent",
            "--no-show-signature",
            "--no-notes",
            "--format=%H%x09%cs%x09%s",
            "--",
            &pattern,
        ];
        let text = self.git.call().in_folder(&self.top).first_line(list)?;
        let commit = |line: &str| {
            let mut parts = line.splitn(3, '\t').map(str::to_owned);
            Some([parts.next()?, parts.next()?, parts.next()?])
        };
        let mut commits: Vec<_> = text.lines().filter_map(commit).collect();
        commits.reverse();
        Ok(commits)
    }

    /// Hash, date and the first line of the message of a commit.
    ///
    /// # Errors
    /// Where there is none.
    pub fn about(&self, commit: &str) -> Result<[String; 3], Failure> {
        let args =
            ["log", "-1", "--no-show-signature", "--no-notes", "--format=%H%x09%cs%x09%s", "--end-of-options", commit];
        let text = self.git.call().in_folder(&self.top).first_line(args)?;
        let mut parts = text.splitn(3, '\t').map(str::to_owned);
        Ok([(); 3].map(|()| parts.next().unwrap_or_default()))
    }

    /// The file as a commit has it.
    ///
    /// # Errors
    /// Where it has none.
    pub fn file_at(&self, commit: &str, file: &Utf8Path) -> Result<Vec<u8>, Failure> {
        let inside = file.strip_prefix(&self.top).unwrap_or(file);
        let object = format!("{commit}:{inside}");
        self.git.call().in_folder(&self.top).output(["cat-file", "blob", &object], super::HELP)
    }

    /// What has changed in the Rust sources that git knows since `commit`, without context, the paths relative to the root. Nothing is written,
    /// and no program of the user's configuration is asked.
    ///
    /// # Errors
    /// Where git does not answer.
    pub fn changed_sources(&self, commit: &str) -> Result<String, Failure> {
        const ARGS: [&str; 16] = [
            "--no-optional-locks",
            "-c",
            "core.quotePath=false",
            "diff",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--no-relative",
            "--no-prefix",
            "--find-renames",
            "--ignore-submodules=all",
            // A line that was only indented allocates what it did.
            "--ignore-all-space",
            "--unified=0",
            "--inter-hunk-context=0",
            "--end-of-options",
            "",
        ];
        let args = ARGS.map(|arg| if arg.is_empty() { commit } else { arg });
        let diff = self.git.call().in_folder(&self.top).output(args.into_iter().chain(["--", "*.rs"]), super::HELP)?;
        Ok(String::from_utf8_lossy(&diff).into_owned())
    }

    /// # Errors
    /// Where git does not answer.
    pub fn shared(&self) -> Result<Shared, Failure> {
        let place = |name: &str| {
            let path = self.git.call().in_folder(&self.top).first_line(["rev-parse", "--git-path", name])?;
            Ok::<_, Failure>(self.top.join(path))
        };
        let refs = ["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/remotes", "refs/tags"];
        let refs = self.git.call().in_folder(&self.top).first_line(refs)?;
        let config = self.config()?;
        let value = |key: &str| config.iter().rev().find(|(found, _)| found == key).map(|(_, value)| value.clone());
        let mut settings: Vec<Setting> =
            config.iter().filter(|(key, _)| is_shared(key)).map(|(key, value)| (key.into(), value.into())).collect();
        let url = value("remote.origin.url").map(|url| absolute_url(&url, &self.top));
        let origin = url.map(|url| {
            let (plain, setting) = without_password(&url);
            settings.extend(setting);
            let lacks_objects = value("remote.origin.promisor").is_some_and(|value| value != "false");
            let filter = lacks_objects.then(|| value("remote.origin.partialclonefilter").unwrap_or_default());
            Origin { url: plain, filter }
        });
        let of_submodule =
            |key: &str| key.starts_with("submodule.") && (key.ends_with(".url") || key.ends_with(".active"));
        let submodules = config.iter().filter(|(key, _)| of_submodule(key));
        Ok(Shared {
            objects: place("objects")?,
            shallow: place("shallow")?,
            attributes: place("info/attributes")?,
            refs: refs.lines().map(|line| format!("{line}\n")).collect(),
            settings,
            origin,
            submodules: submodules.map(|(key, value)| (key.into(), value.into())).collect(),
        })
    }

    /// The repository's own configuration, and behind it, as it counts more, that of this worktree, each with what it includes. A key
    /// without a value is a `true`.
    fn config(&self) -> Result<Vec<(String, String)>, Failure> {
        const OF_WORKTREES: &str = "extensions.worktreeconfig";
        let list = |scope| {
            let args = ["config", scope, "--includes", "-z", "--list"];
            self.git.call().in_folder(&self.top).output(args, super::HELP)
        };
        let mut config = entries(&list("--local")?);
        if config.iter().rev().find(|(key, _)| key == OF_WORKTREES).is_some_and(|(_, value)| value != "false") {
            // A worktree need not have any.
            config.extend(list("--worktree").map(|output| entries(&output)).unwrap_or_default());
        }
        Ok(config)
    }
}

/// Keys and values as git lists them with zeros between them.
fn entries(output: &[u8]) -> Vec<(String, String)> {
    let entries = output.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| {
        let entry = os_string(entry).to_string_lossy().into_owned();
        let (key, value) = entry.split_once('\n').unwrap_or((&entry, "true"));
        (key.to_owned(), value.to_owned())
    });
    entries.collect()
}

/// Git writes sections and names in small letters.
fn is_shared(key: &str) -> bool {
    SHARED.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(section) => key.starts_with(section),
        None => key == *pattern,
    })
}

/// What a remote's relative path means in the user's checkout. `host:path` and `scheme://…` are no paths.
fn absolute_url(url: &str, top: &Utf8Path) -> String {
    let is_path = url.split('/').next().is_some_and(|first| !first.contains(':'));
    if is_path { top.join(url).into_string() } else { url.to_owned() }
}

/// A remote's address without who the user is, and the setting by which git has that again: our clone may go into a cache.
fn without_password(url: &str) -> (String, Option<Setting>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let host_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(host_end);
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') || scheme.starts_with("http") => {
            let plain = format!("{scheme}://{host}");
            let setting = (format!("url.{scheme}://{authority}/.insteadof").into(), format!("{plain}/").into());
            (format!("{plain}{path}"), Some(setting))
        }
        _ => (url.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remotes_address_is_kept_without_its_password() {
        let (url, setting) = without_password("https://user:pass@host:8080/g/r.git");
        assert_eq!(url, "https://host:8080/g/r.git");
        let setting = setting.unwrap();
        assert_eq!(setting.0, "url.https://user:pass@host:8080/.insteadof");
        assert_eq!(setting.1, "https://host:8080/");
        assert_eq!(without_password("https://token@host/r").0, "https://host/r");
        for same in ["https://host/r@2", "ssh://git@host/r", "git@host:r.git", "/a/b@c", "file:///a"] {
            assert_eq!(without_password(same), (same.to_owned(), None));
        }
    }

    #[test]
    fn a_remotes_relative_path_leads_from_the_users_checkout() {
        let absolute = |url| absolute_url(url, Utf8Path::new("/repo"));
        assert_eq!(absolute("../up.git"), "/repo/../up.git");
        assert_eq!(absolute("/up.git"), "/up.git");
        assert_eq!(absolute("host:up.git"), "host:up.git");
        assert_eq!(absolute("file:///up.git"), "file:///up.git");
    }

    #[test]
    fn what_decides_on_files_is_shared_and_what_acts_is_not() {
        for key in ["core.autocrlf", "filter.lfs.smudge", "url.https://a.insteadof", "http.extraheader"] {
            assert!(is_shared(key), "{key}");
        }
        for key in ["core.hookspath", "core.worktree", "core.bare", "alias.x", "core.fsmonitor", "remote.origin.url"] {
            assert!(!is_shared(key), "{key}");
        }
    }
}
