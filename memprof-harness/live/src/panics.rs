//! Leaves the panic hook's allocations, such as a backtrace, out of the region.

use crate::count::events;
use std::panic;
use std::sync::Once;
use std::thread;

/// Wraps the hook, once. A hook that is set later is counted.
pub(crate) fn leave_out() {
    static WRAPPED: Once = Once::new();
    // A thread that is panicking may not change the hook; the next region does.
    if thread::panicking() || WRAPPED.is_completed() {
        return;
    }
    let _inside = events::inside();
    WRAPPED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let _uncounted = events::uncounted();
            previous(info);
        }));
    });
}
