//! `errno`, which the engine must not change.

use crate::os;

/// `errno` as the test left it: an allocation that succeeds must not change it.
pub(crate) struct Errno(i32);

impl Errno {
    pub(crate) fn save() -> Errno {
        Errno(os::errno::get())
    }

    pub(crate) fn restore(self) {
        os::errno::set(self.0);
    }
}
