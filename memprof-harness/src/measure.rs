//! What a piece of a test allocates, exactly, and how high its memory gets.
//!
//! The figures come from the recording of `cargo memprof`. Without it (under plain `cargo test`) nothing is measured: that is
//! said once, and a budget holds; with `MEMPROF_REQUIRE=1` it fails instead.
//!
//! ```
//! let measured = memprof_harness::measure(|| vec![1, 2, 3].len());
//! assert_eq!(measured.value, 3);
//! memprof_harness::assert_allocs!(alloc_objects <= 1, { vec![1, 2, 3] });
//! ```

#![allow(unsafe_code)] // a symbol that may not be there, and the call of what is behind it

use std::io::Write;
use std::sync::Once;

/// Numbers that `memprof_region_v1` takes and gives.
pub const NUMBERS: usize = 8;
/// Begins a region: what it writes is to be given back as it is.
pub const BEGIN: u32 = 0;
/// Ends it: the numbers are then allocations, their bytes, reallocs, frees, the bytes given back, the bytes by which the live
/// total rose above where it began, how far that may be from the truth, and 0.
pub const END: u32 = 1;
/// Limits the bytes that the whole process may have leaked when the window has ended, by the first number. Where that is not looked at,
/// nothing is written and 0 is given.
pub const LIMIT_LEAKED: u32 = 2;

/// Set to `1` by a user: a budget that cannot be measured fails.
pub(crate) const REQUIRE: &str = "MEMPROF_REQUIRE";

/// What a closure gave and what it allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured<T> {
    pub value: T,
    /// `None` = nothing is recorded.
    pub figures: Option<Figures>,
}

/// What was allocated, on all threads of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Successful calls of alloc, alloc_zeroed and realloc.
    pub alloc_objects: u64,
    /// Bytes they asked for.
    pub alloc_space: u64,
    pub reallocs: u64,
    /// Blocks given back, the old block of a realloc included.
    pub frees: u64,
    /// The most bytes that were live at once, beyond those that were when it began.
    pub peak_space: u64,
    /// How far `peak_space` may be from the truth, in bytes; 0 where one thread allocated.
    pub peak_error: u64,
    /// Blocks that are live now and were not before, less those that were and are no longer.
    pub inuse_objects: i64,
    /// Bytes in them.
    pub inuse_space: i64,
}

/// Runs `work` and says what it allocated. What it gives is still there when that is counted.
pub fn measure<T>(work: impl FnOnce() -> T) -> Measured<T> {
    let region = Region::begin();
    let value = work();
    Measured { value, figures: region.end() }
}

/// A measurement that has begun.
#[derive(Debug)]
pub(crate) struct Region(Option<[u64; NUMBERS]>);

impl Region {
    pub(crate) fn begin() -> Region {
        let mut numbers = [0; NUMBERS];
        Region(ask(BEGIN, &mut numbers).then_some(numbers))
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// `None` = nothing is recorded.
    pub(crate) fn end(mut self) -> Option<Figures> {
        self.take()
    }

    fn take(&mut self) -> Option<Figures> {
        let mut numbers = self.0.take()?;
        ask(END, &mut numbers).then(|| Figures::from_numbers(&numbers))
    }
}

/// Also where what is measured panics, or is never finished.
impl Drop for Region {
    fn drop(&mut self) {
        self.take();
    }
}

impl Figures {
    /// In the order of [`END`].
    fn from_numbers(numbers: &[u64; NUMBERS]) -> Figures {
        let [alloc_objects, alloc_space, reallocs, frees, freed_space, peak_space, peak_error, _] = *numbers;
        Figures {
            alloc_objects,
            alloc_space,
            reallocs,
            frees,
            peak_space,
            peak_error,
            inuse_objects: alloc_objects as i64 - frees as i64,
            inuse_space: alloc_space as i64 - freed_space as i64,
        }
    }
}

impl<T> Measured<T> {
    /// The figures; where there are none, that is said once, and nothing is given.
    ///
    /// # Panics
    /// Where there are none and `MEMPROF_REQUIRE=1` is set.
    pub fn figures_or_note(&self) -> Option<Figures> {
        or_note(self.figures)
    }
}

/// Whether a budget that cannot be checked fails.
pub(crate) fn is_required() -> bool {
    std::env::var_os(REQUIRE).is_some_and(|value| value == "1")
}

/// Limits what the whole process may have leaked at its end, in bytes; `false` where it is recorded and nobody looks at that.
pub(crate) fn limit_leaked(bytes: u64) -> bool {
    ask(LIMIT_LEAKED, &mut [bytes; NUMBERS])
}

/// See [`Measured::figures_or_note`].
pub(crate) fn or_note(figures: Option<Figures>) -> Option<Figures> {
    if figures.is_none() {
        assert!(
            !is_required(),
            "a budget cannot be checked: nothing is recorded, and {REQUIRE}=1 is set; run the tests with `cargo memprof test`"
        );
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            // Not `eprintln!`, which libtest keeps to itself where the test passes. Where it cannot be said nothing is lost.
            let _ = writeln!(
                std::io::stderr(),
                "note: allocation budgets are not checked; run the tests with `cargo memprof test`"
            );
        });
    }
    figures
}

/// Runs a block and asserts on what it allocated: any number of comparisons of fields of [`Figures`] with numbers, and
/// then the block, whose value is given.
///
/// ```
/// let text = memprof_harness::assert_allocs!(alloc_objects <= 1, peak_space <= 16, inuse_objects <= 1, {
///     String::from("sixteen letters!")
/// });
/// assert_eq!(text.len(), 16);
/// ```
#[macro_export]
macro_rules! assert_allocs {
    ($($figure:ident $is:tt $limit:expr),+ , $work:block) => {{
        let measured = $crate::measure(|| $work);
        if let ::std::option::Option::Some(figures) = measured.figures_or_note() {
            $(
                let (figure, limit) = ($crate::__figure!(figures, $figure), $limit);
                if !(figure $is limit) {
                    ::std::panic!(
                        "over budget: `{} {} {}` does not hold: it is {}\n  {:?}",
                        ::std::stringify!($figure),
                        ::std::stringify!($is),
                        limit,
                        figure,
                        figures
                    );
                }
            )+
        }
        measured.value
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __figure {
    ($figures:ident, leaked) => {
        ::std::compile_error!(
            "`leaked` is known of a whole test alone: write `#[budget(leaked = 0)]` on it; a region knows `inuse_space`"
        )
    };
    ($figures:ident, $figure:ident) => {
        $figures.$figure
    };
}

/// Asks whoever records this process; `false` where nobody does, and then the numbers stay as they are.
fn ask(what: u32, numbers: &mut [u64; NUMBERS]) -> bool {
    type Function = unsafe extern "C" fn(u32, *mut [u64; NUMBERS]) -> u32;
    let address = recorder();
    if address == 0 {
        return false;
    }
    // SAFETY: the address of a symbol whose name stands for this signature, see `engine::region`.
    let function = unsafe { std::mem::transmute::<usize, Function>(address) };
    // SAFETY: `numbers` can be read and written.
    unsafe { function(what, numbers) != 0 }
}

/// The address of the recording crate's function; 0 where no such crate is linked. Stable Rust has no weak symbols, so the
/// linker's table is read as a compiler of C would have it read.
fn recorder() -> usize {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        let address: usize;
        // SAFETY: loads a word of the global offset table, which the linker makes: the symbol's address, or 0.
        unsafe {
            std::arch::asm!(
                ".weak memprof_region_v1",
                "mov {}, qword ptr [rip + memprof_region_v1@GOTPCREL]",
                out(reg) address,
                options(nostack, preserves_flags, pure, readonly)
            );
        }
        address
    }
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    {
        let address: usize;
        // SAFETY: as above.
        unsafe {
            std::arch::asm!(
                ".weak memprof_region_v1",
                "adrp {0}, :got:memprof_region_v1",
                "ldr {0}, [{0}, :got_lo12:memprof_region_v1]",
                out(reg) address,
                options(nostack, preserves_flags, pure, readonly)
            );
        }
        address
    }
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_recording_budgets_hold_and_values_pass_through() {
        let measured = measure(|| String::from("x"));
        assert_eq!((measured.value.as_str(), measured.figures), ("x", None));
        assert_eq!(assert_allocs!(alloc_objects <= 0, inuse_space == 0, peak_space < 1, { vec![1, 2] }), [1, 2]);
    }

    #[test]
    fn what_is_live_is_what_was_not_given_back() {
        let figures = Figures::from_numbers(&[3, 40, 1, 4, 50, 30, 0, 0]);
        assert_eq!((figures.inuse_objects, figures.inuse_space, figures.peak_space), (-1, -10, 30));
    }
}
