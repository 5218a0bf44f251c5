//! The variables through which `cargo memprof`, a test executable and its children talk to one another: one constant
//! each, and nothing else.

/// Set for a test executable by `cargo memprof`: mean bytes between samples, decimal. Also set for its children.
pub const RATE: &str = "MEMPROF_RATE";
/// Set for a test executable by `cargo memprof`: the folder its ledgers go into, absolute. Where it is not set (and
/// no flag says otherwise) the executable behaves as plain libtest.
pub const LEDGERS: &str = "MEMPROF_LEDGERS";
/// Set for a child: the index of the test it runs, in the order of the executable's own list; for one iteration of a benchmark, `/` and
/// the number of the call of `iter` as well. Its presence is what
/// makes the engine record.
pub const CHILD: &str = "MEMPROF_CHILD";
/// Set for a child: the ledger to record into, absolute.
pub const LEDGER: &str = "MEMPROF_LEDGER";
/// Set for a test executable by `cargo memprof`, and for its children: [`crate::run_options::RunOptions`] as text. Not set in an ordinary
/// run.
pub const MODES: &str = "MEMPROF_MODES";
/// Set by `cargo memprof` for what is recorded and is for another processor than this machine's: by which program it starts itself
/// again, as [`crate::emulator::Emulator`] writes it. Taken out by test executables and by programs that are roots.
pub const EMULATOR: &str = "MEMPROF_EMULATOR";

/// Set for a program that is to be recorded, and inherited by what a recorded test or program starts: `DETAIL SEED ROOT FOLDER`,
/// where DETAIL is a [`crate::run_options::Detail`], SEED is what the samplers of all of it begin with ([`crate::ledger::Seed`] as
/// text), and ROOT the ledger (its file's stem) of the test or program that all of it belongs to; for a root itself, what
/// the name of its ledger is to begin with. A test executable does not look at it: started by a test, it is plain libtest.
pub const PROGRAM: &str = "MEMPROF_PROGRAM";
/// Set for a program that is a root: recorded for its own sake and not as what a test started. Holds the name of the
/// one test it is to run, or nothing. The program takes it out of its environment, and [`MODES`] where that is there.
pub const NAME: &str = "MEMPROF_NAME";
/// Set beside [`NAME`] where not all of the program is to be recorded: [`THREADS`], [`CALL`] or what begins with [`FRAME`]. Taken out likewise.
pub const WINDOW: &str = "MEMPROF_WINDOW";
/// The main thread is a test harness's own; what the threads do that it starts is recorded.
pub const THREADS: &str = "threads";
/// Only the thread is recorded that has one of these functions on its stack, as long as it has, and the threads that come to be
/// meanwhile. `OFFSET+LENGTH` of each follows, in hexadecimal digits, with commas between; offsets as in the executable's file.
pub const FRAME: &str = "frame:";
/// Nothing is recorded before the program calls `begin`, which was put into its source.
pub const CALL: &str = "call";

/// Set for a process that only tries its allocator, and ends before `main`.
pub const PROBE: &str = "MEMPROF_PROBE";

/// Set for a child: where std enters a new thread in its map of those that are alive, `FIRST-END` in hexadecimal digits, as in the
/// executable's file. Not set where the executable has no symbols.
pub const THREAD_INFO: &str = "MEMPROF_THREAD_INFO";

/// What a test executable is spoken to by, in the order `RATE`, `LEDGERS`, `CHILD`, `LEDGER`, `MODES`, `THREAD_INFO`, `EMULATOR`. A test executable
/// takes them out of its environment as soon as it has read them, so that a test and whatever it starts see the environment the user had.
pub const ALL: [&str; 7] = [RATE, LEDGERS, CHILD, LEDGER, MODES, THREAD_INFO, EMULATOR];
