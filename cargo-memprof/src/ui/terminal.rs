//! The terminal: the only file that writes to it. Results go to stdout, everything else to stderr, in cargo's own
//! style: a green verb, right-aligned to twelve columns, and what it is about.

use crate::ui::error::{Error, indent};
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};

const VERB: Style = AnsiColor::Green.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const NOTE: Style = AnsiColor::Green.on_default().bold();
const BOLD: Style = Style::new().bold();

/// Whether and in what colours to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shell {
    /// Only results and errors are shown.
    quiet: bool,
    color: ColorChoice,
    /// Programs read stdout: results for people go to stderr.
    machine_output: bool,
}

impl Shell {
    /// A terminal that shows everything, in the colours that [`Shell::configured`] last chose; before, in colour where
    /// the stream is a terminal.
    pub fn new() -> Shell {
        Shell { quiet: false, color: ColorChoice::global(), machine_output: false }
    }

    /// `color` is cargo's word for it: `always`, `never` or `auto`.
    pub fn configured(quiet: bool, color: Option<&str>) -> Shell {
        let color = match color {
            Some("always") => ColorChoice::Always,
            Some("never") => ColorChoice::Never,
            _ => ColorChoice::Auto,
        };
        // An error that ends the program is shown by a shell that was never told.
        color.write_global();
        Shell { quiet, color, machine_output: false }
    }

    /// The same for a stdout that programs read, where `machine_output` is true.
    #[must_use]
    pub fn beside_machine_output(self, machine_output: bool) -> Shell {
        Shell { machine_output, ..self }
    }

    /// Whether only results and errors are shown.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// One line of progress on stderr, such as `   Compiling memprof-harness v0.1.0`.
    pub fn status(&self, verb: &str, text: &str) {
        if !self.quiet {
            self.say(&format!("{VERB}{verb:>12}{VERB:#} {text}\n"));
        }
    }

    /// Something the user should know although the run goes on. Shown when quiet too: what is not measured must
    /// never go unsaid.
    pub fn warn(&self, text: &str) {
        self.say(&format!("{WARNING}warning{WARNING:#}{BOLD}:{BOLD:#} {}\n", indent(text)));
    }

    /// An explanation that may be missed.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(&format!("{NOTE}note{NOTE:#}{BOLD}:{BOLD:#} {}\n", indent(text)));
        }
    }

    /// An error in its three parts.
    pub fn error(&self, error: &Error) {
        let mut text = format!("{ERROR}error{ERROR:#}{BOLD}:{BOLD:#} {}\n", indent(error.request()));
        for cause in error.causes() {
            text.push_str(&format!("  {BOLD}caused by:{BOLD:#} {}\n", indent(cause)));
        }
        if let Some(help) = error.advice() {
            text.push_str(&format!("  {HELP}help:{HELP:#} {}\n", indent(help)));
        }
        self.say(&text);
    }

    /// The same where a bar may stand on the line.
    pub fn error_over_progress(&self, error: &Error) {
        if io::stderr().is_terminal() {
            self.say("\r\x1b[2K");
        }
        self.error(error);
    }

    /// What cargo said on its stderr when it was asked in private, as it said it.
    pub fn pass_on(&self, bytes: &[u8]) {
        self.say(&String::from_utf8_lossy(bytes));
    }

    /// A result, on stdout where people read it. `text` brings its own line ends and may carry ANSI styles: they are dropped where stdout
    /// shows no colours.
    pub fn result(&self, text: &str) {
        if self.machine_output {
            self.say(text);
            return;
        }
        let mut out = AutoStream::new(io::stdout(), self.color).lock();
        // A reader that went away (`| head`) is no reason to fail a test run.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Columns of the terminal that results go to; `None` where stdout is none.
    pub fn result_columns(&self) -> Option<usize> {
        let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(io::stdout())?;
        Some(usize::from(columns))
    }

    /// A bar on stderr that counts to `len`, in cargo's style. Invisible when quiet or where stderr is no terminal.
    /// The caller ends it with `finish_and_clear`.
    pub fn progress(&self, verb: &str, len: u64) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{prefix:>12.cyan.bold} [{bar:27}] {pos}/{len}: {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr())
            .with_style(style)
            .with_prefix(verb.to_owned())
    }

    fn say(&self, text: &str) {
        let mut err = AutoStream::new(io::stderr(), self.color).lock();
        // There is nowhere left to complain to.
        let _ = err.write_all(text.as_bytes());
    }
}
