//! What std says where there is no memory, with a backtrace perhaps: it is kept out of the recording, as what the default panic hook does is. A
//! hook that the test sets itself is recorded, and so is all that it does before it reports that there is no memory.
//!
//! std's hook is an unstable part of std. A toolchain without it (the driver asks, see `libtest_shapes`) has std's backtrace recorded.

#[cfg(memprof_alloc_error_hook)]
pub(crate) fn leave_out_message() {
    use std::alloc::{set_alloc_error_hook, take_alloc_error_hook, Layout};
    use std::sync::OnceLock;

    static PREVIOUS: OnceLock<fn(Layout)> = OnceLock::new();
    fn say(layout: Layout) {
        let _outside = crate::engine::suspend();
        if let Some(previous) = PREVIOUS.get() {
            previous(layout);
        }
    }
    if PREVIOUS.set(take_alloc_error_hook()).is_ok() {
        set_alloc_error_hook(say);
    }
}

#[cfg(not(memprof_alloc_error_hook))]
pub(crate) fn leave_out_message() {}
