//! The calls of `os` on a system where nothing can be recorded yet. Each gives what its caller has to take anyway: that the kernel
//! refused, or that there is none of what was asked for. `cargo memprof` refuses such a system before any of them is made; they are here
//! so that a compiler reads the rest of the engine with the types of that system.

pub(crate) mod errno {
    use libc::c_int;

    pub(crate) fn get() -> c_int {
        libc::ENOSYS
    }

    pub(crate) fn set(_: c_int) {}
}

pub(crate) mod file {
    use libc::c_int;
    use std::io;

    pub(crate) fn pipe() -> io::Result<[c_int; 2]> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn allocate(_: c_int, _: u64, _: u64) -> c_int {
        libc::ENOSYS
    }

    pub(crate) fn entries(_: c_int, _: &mut [u8]) -> Option<usize> {
        None
    }

    pub(crate) fn enlarge(_: c_int, _: c_int) {}

    /// How wide the two are differs between systems.
    pub(crate) fn identity(file: &libc::stat) -> (u64, u64) {
        (file.st_dev as u64, file.st_ino as u64)
    }
}

pub(crate) mod loader {
    use libc::{c_char, c_int, c_void};

    /// As ELF has it: other formats name other things, and what walks them is to be written with the calls.
    #[repr(C)]
    pub(crate) struct Object {
        pub(crate) dlpi_addr: u64,
        pub(crate) dlpi_name: *const c_char,
        pub(crate) dlpi_phdr: *const Segment,
        pub(crate) dlpi_phnum: u16,
    }

    /// As ELF has it.
    #[repr(C)]
    pub(crate) struct Segment {
        pub(crate) p_type: u32,
        pub(crate) p_flags: u32,
        pub(crate) p_offset: u64,
        pub(crate) p_vaddr: u64,
        pub(crate) p_paddr: u64,
        pub(crate) p_filesz: u64,
        pub(crate) p_memsz: u64,
        pub(crate) p_align: u64,
    }

    /// As ELF has it, up to the fields that are asked for.
    #[repr(C)]
    pub(crate) struct FileHeader {
        pub(crate) e_ident: [u8; 16],
        pub(crate) e_type: u16,
        pub(crate) e_machine: u16,
        pub(crate) e_version: u32,
        pub(crate) e_entry: u64,
        pub(crate) e_phoff: u64,
        pub(crate) e_shoff: u64,
        pub(crate) e_flags: u32,
        pub(crate) e_ehsize: u16,
        pub(crate) e_phentsize: u16,
        pub(crate) e_phnum: u16,
    }

    pub(crate) const LOADED: u32 = 1;
    pub(crate) const UNWIND_INDEX: u32 = 0x6474_e550;

    pub(crate) type Visit = unsafe extern "C" fn(*mut Object, usize, *mut c_void) -> c_int;

    /// # Safety
    /// None: nothing is visited.
    pub(crate) unsafe fn for_each_object(_: Visit, _: *mut c_void) -> c_int {
        0
    }

    pub(crate) fn base_of_loader() -> u64 {
        0
    }

    pub(crate) fn above_first_stack() -> usize {
        0
    }
}

pub(crate) mod memory {
    use libc::{c_int, c_void};

    pub(crate) const UNRESERVED: c_int = 0;

    /// # Safety
    /// None: nothing is done.
    pub(crate) unsafe fn give_back(_: *mut c_void, _: usize) -> bool {
        false
    }

    /// # Safety
    /// None: nothing is done.
    pub(crate) unsafe fn wipe_in_forks(_: *mut c_void, _: usize) -> bool {
        false
    }

    /// # Safety
    /// None: nothing is done.
    pub(crate) unsafe fn map_at(_: *mut c_void, _: usize) -> bool {
        false
    }

    pub(crate) fn keep_empty(_: *mut c_void, _: usize) {}

    pub(crate) fn page_size() -> usize {
        0
    }

    pub(crate) fn is_mapped(_: *mut c_void) -> bool {
        false
    }

    pub(crate) fn next_in_memory(start: usize, end: usize) -> (usize, usize) {
        (start, end)
    }

    /// # Safety
    /// None: nothing is copied.
    pub(crate) unsafe fn copy_if_there(_: *mut c_void, _: usize, _: usize) -> isize {
        -1
    }

    pub(crate) fn share_heaps() -> bool {
        false
    }

    /// # Safety
    /// None: nothing is read.
    pub(crate) unsafe fn usable_size(_: *mut c_void) -> usize {
        0
    }
}

pub(crate) mod task {
    use libc::{c_int, c_uint, c_void};

    pub(crate) type Limited = c_int;

    pub(crate) fn end_with_parent() {}

    pub(crate) fn fix_addresses() {}

    /// # Safety
    /// None: nothing is read.
    pub(crate) unsafe fn take_pending(_: *const libc::sigset_t) {}

    /// # Safety
    /// None: nothing is written.
    pub(crate) unsafe fn random(_: *mut c_void, _: usize, _: c_uint) -> isize {
        -1
    }
}

pub(crate) mod thread {
    /// No thread has this number.
    pub(crate) fn id() -> libc::pid_t {
        0
    }

    pub(crate) fn is_first() -> bool {
        false
    }

    pub(crate) struct Stack {
        pub(crate) low: usize,
        pub(crate) high: usize,
        pub(crate) is_c_librarys: bool,
    }

    pub(crate) fn stack() -> Option<Stack> {
        None
    }

    pub(crate) fn clock(_: libc::pid_t) -> Option<libc::clockid_t> {
        None
    }
}
