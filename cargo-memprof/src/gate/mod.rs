//! The gate: allocation metrics are held against a committed baseline, and what grew is explained. What a command needs is public here;
//! whatever decides anything is in a file of its own and pure.
//!
//! | room | what it owns |
//! | --- | --- |
//! | `output` | the outcome in every form, and where each goes |
//! | `history` | what tests needed at one commit after another |
//! | `explain` | where a test grew or varies, and the pictures of it |
//! | `baseline` | what a run is compared with: the committed file, which of its lines a run replaces, its profiles; another revision |
//! | `compare` | a run that is read back, and the comparison |
//! | `policy` | which limits hold for which test |
//!
//! Each knows those below it. All know the words of the gate: `flags`, `outcome`, `committed`, `escapes`, `metrics` and `program`.

pub mod output;

pub mod explain;

pub mod baseline;

pub mod compare;

pub mod policy;

pub mod history;

pub mod committed;
pub mod escapes;
pub mod flags;
pub mod metrics;
pub mod outcome;
pub mod program;
