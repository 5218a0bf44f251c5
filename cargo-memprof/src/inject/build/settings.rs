//! The settings of a call of rustc that change the code that it makes, read from its arguments.

use crate::protocol::library::Settings;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The settings that the arguments of one call name, until all of them are read.
#[derive(Default)]
pub(super) struct SettingsRead {
    features: BTreeSet<String>,
    /// The others.
    cfgs: BTreeSet<String>,
    pub(super) opt_level: Option<String>,
    debug_assertions: Option<bool>,
    flags: BTreeSet<String>,
    externs: Vec<PathBuf>,
}

impl SettingsRead {
    pub(super) fn take_cfg(&mut self, cfg: &str) {
        match cfg.strip_prefix("feature=") {
            Some(name) => self.features.insert(name.trim_matches('"').to_owned()),
            None => !["test", "memprof", "docsrs"].contains(&cfg) && self.cfgs.insert(cfg.to_owned()),
        };
    }

    pub(super) fn take_codegen(&mut self, option: &str) {
        /// Those that change no allocation: names, places, what is kept for debuggers, how it is linked; and frame pointers, which are ours.
        const OF_NO_MATTER: [&str; 22] = [
            "ar",
            "code-model",
            "debuginfo",
            "default-linker-libraries",
            "dlltool",
            "embed-bitcode",
            "extra-filename",
            "force-frame-pointers",
            "incremental",
            "instrument-coverage",
            "link-arg",
            "link-args",
            "link-dead-code",
            "link-self-contained",
            "linker",
            "linker-flavor",
            "metadata",
            "prefer-dynamic",
            "relocation-model",
            "remark",
            "rpath",
            "save-temps",
        ];
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "opt-level" => self.opt_level = Some(value.to_owned()),
            "debug-assertions" => self.debug_assertions = Some(!["n", "no", "off", "false"].contains(&value)),
            "split-debuginfo" | "strip" | "symbol-mangling-version" => {}
            _ if OF_NO_MATTER.contains(&name) => {}
            _ => {
                self.flags.insert(format!("-C{option}"));
            }
        }
    }

    pub(super) fn take_unstable(&mut self, option: &str) {
        const OF_NO_MATTER: [&str; 5] =
            ["allow-features", "binary-dep-depinfo", "threads", "time-passes", "unstable-options"];
        if !OF_NO_MATTER.contains(&option.split('=').next().unwrap_or_default()) {
            self.flags.insert(format!("-Z{option}"));
        }
    }

    pub(super) fn take_extern(&mut self, value: &str) {
        self.externs.extend(value.split_once('=').map(|(_, path)| PathBuf::from(path)));
    }

    /// `has_build_script` = conditions may come from the package's build script, which depends on compiler and machine as code does.
    pub(super) fn finish(mut self, has_build_script: bool) -> Settings {
        if !has_build_script {
            self.flags.extend(self.cfgs.into_iter().map(|cfg| format!("--cfg {cfg}")));
        }
        let opt_level = self.opt_level.unwrap_or_else(|| "0".to_owned());
        let debug_assertions = self.debug_assertions.unwrap_or(opt_level == "0");
        let SettingsRead { features, flags, externs, .. } = self;
        Settings { features, opt_level, debug_assertions, flags, externs }
    }
}
