//! Where the outcome goes: stdout in the form the user wants, files in every form beside the pictures, and GitHub's places
//! where this runs there.

mod annotate;
mod job_summary;
mod json;
mod junit;
mod lines;
mod sites;
#[cfg(test)]
mod tests;
pub mod text;

use crate::context::env;
use crate::files::outlet;
use crate::gate::baseline::reference::Source;
use crate::gate::explain::evidence::Evidence;
use crate::gate::flags::Format;
use crate::gate::outcome::Outcome;
use crate::report::layout;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::terminal::Shell;
use camino::{Utf8Path, Utf8PathBuf};

/// The files, in the folder `gate` of the outputs.
const JSON: &str = "gate.json";
const JUNIT: &str = "junit.xml";
const MARKDOWN: &str = "summary.md";

/// What is given out.
pub struct Outputs<'a> {
    pub outcome: &'a Outcome,
    pub evidence: &'a Evidence,
    pub baseline: &'a Source,
    /// People have been told, or will be, as it is an error.
    pub already_shown: bool,
    /// Root of the workspace.
    pub root: &'a Utf8Path,
}

impl Outputs<'_> {
    /// Writes and says everything. `folder` is that of the run's outputs.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn give(&self, folder: &Utf8Path, format: Format, shell: &Shell) -> Result<(), Error> {
        let text = text::render(self.outcome, self.evidence, self.baseline);
        let markdown = job_summary::render(self.outcome, self.evidence);
        let json = json::render(self.outcome, self.evidence);
        let junit = junit::render(self.outcome, self.evidence);
        let annotations = annotate::render(self.outcome, self.evidence, &self.prefix());
        let folder = folder.join(layout::GATE);
        for (name, bytes) in [(JSON, &json), (JUNIT, &junit), (MARKDOWN, &markdown)] {
            let path = folder.join(name);
            outlet::put(&path, bytes).map_err(|error| cannot_write(&path, &error))?;
        }
        // Programs read what they asked for, and it is this.
        let stdout = shell.beside_machine_output(false);
        let text = if self.already_shown { String::new() } else { text };
        stdout.result(match format {
            Format::Text => &text,
            Format::Github => &annotations,
            Format::Markdown => &markdown,
            Format::Junit => &junit,
            Format::Json => &json,
        });
        if format == Format::Text && env::non_empty(env::GITHUB_ACTIONS).is_some_and(|value| value == "true") {
            stdout.result(&annotations);
        }
        self.append_summary(&markdown)
    }

    /// From the root of the repository to the workspace.
    fn prefix(&self) -> Utf8PathBuf {
        let repository = env::non_empty(env::GITHUB_WORKSPACE)
            .and_then(|path| Utf8PathBuf::try_from(std::path::PathBuf::from(path)).ok());
        let inside = repository.and_then(|repository| self.root.strip_prefix(repository).map(Utf8Path::to_owned).ok());
        inside.unwrap_or_default()
    }

    fn append_summary(&self, markdown: &str) -> Result<(), Error> {
        let Some(path) = env::non_empty(env::GITHUB_STEP_SUMMARY).map(std::path::PathBuf::from) else { return Ok(()) };
        let written = outlet::add_to_named(&path, markdown.as_bytes());
        written.map_err(|error| cannot_write(Utf8Path::new(&path.to_string_lossy()), &error))
    }
}

fn cannot_write(path: &Utf8Path, error: &std::io::Error) -> Error {
    Error::new(format!("cannot write `{path}`")).caused_by(error).with_code(ExitCode::OUTPUT)
}
