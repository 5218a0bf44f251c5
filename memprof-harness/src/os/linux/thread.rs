//! The calling thread, and the clock of any.

use std::mem::MaybeUninit;

/// Its number. Not by the C library, which may be older than that function of its.
pub(crate) fn id() -> libc::pid_t {
    // SAFETY: has no preconditions.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    id as libc::pid_t
}

/// Whether it is the process's first.
pub(crate) fn is_first() -> bool {
    // SAFETY: has no preconditions.
    let process = unsafe { libc::getpid() };
    process == id()
}

/// The clock of the CPU time of a thread of this process.
pub(crate) fn clock(id: libc::pid_t) -> Option<libc::clockid_t> {
    /// As the kernel makes its number: the thread's inverted, and the kind of the clock.
    const OF_A_THREAD: libc::clockid_t = 4 | 2;
    Some((!id << 3) | OF_A_THREAD)
}

/// The calling thread's stack.
pub(crate) struct Stack {
    pub(crate) low: usize,
    /// The first address behind it.
    pub(crate) high: usize,
    /// Whether the C library made it, and may use it for another thread later, instead of the program.
    pub(crate) is_c_librarys: bool,
}

/// What the C library asks the kernel for this, std asks for each thread that it starts.
pub(crate) fn stack() -> Option<Stack> {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: always the calling thread's own handle.
    let me = unsafe { libc::pthread_self() };
    // SAFETY: `attributes` is a valid place for the answer.
    if unsafe { libc::pthread_getattr_np(me, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut low, mut size, mut guard) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: the call above filled the attributes in; both places are valid.
    let result = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut size) };
    // SAFETY: as above. A stack of the program's has no guard that the C library knows of, whatever the attributes asked for.
    let has_guard = unsafe { libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard) } == 0 && guard > 0;
    // SAFETY: filled in above and not used afterwards.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (result == 0).then(|| Stack { low: low as usize, high: low as usize + size, is_c_librarys: has_guard })
}
