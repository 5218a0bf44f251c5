//! Programs that forbid themselves system calls (seccomp). Where a filter does not allow a call, making it may end the process. So what
//! the engine is going to need is taken before a filter is set, and after that it makes no call of its own: what it has no room for is a
//! loss, and counted.
//!
//! A filter is set by `prctl` or `syscall`. The functions of these names here come before the C library's, as weak symbols, so that a
//! program with its own keeps them. They do what the C library's do, and look at two numbers more. A filter that is set by a bare
//! instruction is not noticed.

#![allow(unsafe_code)] // system calls, and C functions that the linker is to find

use crate::engine::alloc::slots;
use crate::engine::leaks::array::Array;
use crate::engine::leaks::mappings::{self, Guards, Mapping};
use crate::engine::life::{process, state, thread};
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::ledger_map;
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicUsize};

/// What the process had mapped before it set its first filter.
static MAPPINGS: AtomicPtr<Mapping> = AtomicPtr::new(std::ptr::null_mut());
static MAPPINGS_LEN: AtomicUsize = AtomicUsize::new(0);

/// Where the calling thread's stack lies, if that was there before the first filter. Otherwise nobody knows without a system call, but the
/// first thread's is nowhere.
pub(crate) fn known_stack() -> Option<Bounds> {
    let (start, len) = (MAPPINGS.load(Acquire), MAPPINGS_LEN.load(Relaxed));
    // SAFETY: null, or a list of so many that is never taken down nor changed.
    let mappings: &[Mapping] = if start.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(start, len) } };
    // glibc keeps its description of a thread at the upper end of the thread's stack, whoever made that.
    // SAFETY: has no preconditions.
    let description = unsafe { libc::pthread_self() } as usize;
    let found = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&description));
    match found.filter(|mapping| (mapping.start..description).contains(&Frame::here().0)) {
        Some(mapping) => Some(Bounds { low: mapping.start, high: description & !15 }),
        None => calls::is_first_thread().then_some(Bounds::NOWHERE),
    }
}

/// Keeps for [`known_stack`] what is mapped.
#[cfg_attr(not(memprof_injected), allow(dead_code))]
fn keep_mappings() {
    let (Some(mut list), Some(mut guards)) = (Array::new(mappings::MOST), Guards::new()) else { return };
    if MAPPINGS.load(Relaxed).is_null() && mappings::read(&mut list, &mut guards).is_ok() {
        MAPPINGS_LEN.store(list.len(), Relaxed);
        MAPPINGS.store(list.as_mut_ptr(), Release);
        std::mem::forget(list);
    }
}

#[cfg_attr(not(memprof_injected), allow(dead_code))]
/// Takes what the engine needs under a filter that is about to be set; `everywhere` says that it is for all threads.
fn prepare(everywhere: bool) {
    if calls::allows_calls() {
        process::see_to_fork();
        if ledger_map::is_attached() && !state::has_ended() {
            if state::is_open() {
                thread::join();
            }
            let errno = Errno::save();
            ledger_map::take_ahead();
            slots::take_ahead();
            keep_mappings();
            errno.restore();
        }
    }
    calls::notice_filter(everywhere);
}

// Other kernels have other ways to forbid calls.
#[cfg(all(memprof_injected, target_os = "linux"))]
mod c_functions {
    use super::prepare;
    use crate::engine::store::calls::Filters;
    use libc::{c_long, SYS_prctl, SYS_seccomp, PR_SET_SECCOMP, SECCOMP_FILTER_FLAG_TSYNC};
    use libc::{SECCOMP_SET_MODE_FILTER, SECCOMP_SET_MODE_STRICT};

    /// Makes a call of `prctl` or `seccomp`, which may set a filter.
    ///
    /// # Safety
    /// As of the call.
    unsafe extern "C" fn call(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long) -> c_long {
        // C's own types for these are 32 bits long, and what is above is anything.
        let first = a as u32;
        let sets = if number == SYS_seccomp {
            first == SECCOMP_SET_MODE_STRICT || first == SECCOMP_SET_MODE_FILTER
        } else {
            first == PR_SET_SECCOMP as u32
        };
        if !sets {
            // SAFETY: as the caller promises.
            return unsafe { bare(number, a, b, c, d, e) };
        }
        let before = Filters::known();
        prepare(number == SYS_seccomp && b as u64 & SECCOMP_FILTER_FLAG_TSYNC as u64 != 0);
        // SAFETY: as the caller promises.
        let result = unsafe { bare(number, a, b, c, d, e) };
        if result < 0 {
            // It was not set.
            before.restore();
        }
        result
    }

    /// As the C library's `syscall`, with five arguments.
    ///
    /// # Safety
    /// That of the system call: what its arguments point to is there, and as it wants it.
    unsafe fn bare(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long) -> c_long {
        let result: c_long;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as the caller promises. The kernel keeps all other registers.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") number => result,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            std::arch::asm!(
                "svc #0",
                in("x8") number,
                inlateout("x0") a => result,
                in("x1") b, in("x2") c, in("x3") d, in("x4") e,
                options(nostack),
            );
        }
        if (-4095..0).contains(&result) {
            crate::os::errno::set(-result as i32);
            return -1;
        }
        result
    }

    // No Rust function can stand for these: their callers give them as many arguments as they like, and a call that splits the process or
    // the stack returns from them twice. Arguments are passed as the ABIs say: in registers, but for the seventh on x86_64.
    #[cfg(target_arch = "x86_64")]
    std::arch::global_asm!(
        ".pushsection .text.memprof_calls,\"ax\",@progbits",
        ".weak syscall",
        ".type syscall,@function",
        ".p2align 4",
        "syscall:",
        ".cfi_startproc",
        "cmp rdi, {SECCOMP}",
        "je {CALL}",
        "cmp rdi, {PRCTL}",
        "je {CALL}",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 2f",
        "ret",
        "2:",
        "neg eax",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        "call __errno_location@PLT",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        "mov [rax], ecx",
        "mov rax, -1",
        "ret",
        ".cfi_endproc",
        ".size syscall, . - syscall",
        ".weak prctl",
        ".type prctl,@function",
        ".p2align 4",
        "prctl:",
        ".cfi_startproc",
        "mov r9, r8",
        "mov r8, rcx",
        "mov rcx, rdx",
        "mov rdx, rsi",
        "mov esi, edi",
        "mov edi, {PRCTL}",
        "jmp {CALL}",
        ".cfi_endproc",
        ".size prctl, . - prctl",
        ".popsection",
        SECCOMP = const SYS_seccomp,
        PRCTL = const SYS_prctl,
        CALL = sym call,
    );
    #[cfg(target_arch = "aarch64")]
    std::arch::global_asm!(
        ".pushsection .text.memprof_calls,\"ax\",@progbits",
        ".weak syscall",
        ".type syscall,@function",
        ".p2align 2",
        "syscall:",
        ".cfi_startproc",
        "cmp x0, #{SECCOMP}",
        "b.eq 3f",
        "cmp x0, #{PRCTL}",
        "b.eq 3f",
        "mov x8, x0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
        "svc #0",
        "cmn x0, #4095",
        "b.hs 2f",
        "ret",
        "2:",
        "stp x29, x30, [sp, #-32]!",
        ".cfi_adjust_cfa_offset 32",
        ".cfi_rel_offset x29, 0",
        ".cfi_rel_offset x30, 8",
        "neg w0, w0",
        "str w0, [sp, #16]",
        "bl __errno_location",
        "ldr w1, [sp, #16]",
        "str w1, [x0]",
        "mov x0, #-1",
        "ldp x29, x30, [sp], #32",
        ".cfi_restore x29",
        ".cfi_restore x30",
        ".cfi_adjust_cfa_offset -32",
        "ret",
        "3:",
        "b {CALL}",
        ".cfi_endproc",
        ".size syscall, . - syscall",
        ".weak prctl",
        ".type prctl,@function",
        ".p2align 2",
        "prctl:",
        ".cfi_startproc",
        "mov x5, x4",
        "mov x4, x3",
        "mov x3, x2",
        "mov x2, x1",
        "mov w1, w0",
        "mov x0, #{PRCTL}",
        "b {CALL}",
        ".cfi_endproc",
        ".size prctl, . - prctl",
        ".popsection",
        SECCOMP = const SYS_seccomp,
        PRCTL = const SYS_prctl,
        CALL = sym call,
    );
}
