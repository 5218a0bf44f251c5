//! Code of assembly without unwind tables, in the way of a stack: what is known without a table is followed, and where nothing is known,
//! a stack is marked.
#![cfg(target_arch = "x86_64")]

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};

const LIB: &str = r#"
use std::hint::black_box;

#[allow(non_camel_case_types, non_upper_case_globals)]
mod libc {
    pub const PR_SET_NO_NEW_PRIVS: i32 = 38;
    pub const PR_SET_SECCOMP: i32 = 22;
    pub const SYS_rt_sigaction: i64 = 13;
    pub const SIGUSR1: i32 = 10;

    #[repr(C)]
    pub struct sock_filter {
        pub code: u16,
        pub jt: u8,
        pub jf: u8,
        pub k: u32,
    }

    #[repr(C)]
    pub struct sock_fprog {
        pub len: u16,
        pub filter: *mut sock_filter,
    }

    extern "C" {
        pub fn prctl(option: i32, ...) -> i32;
        pub fn syscall(number: i64, ...) -> i64;
        pub fn raise(signal: i32) -> i32;
    }
}

extern "C" {
    fn returns_from_signal();
    fn calls(function: extern "C" fn());
}

// The second has the caller's address farther out than a frame pointer would say.
std::arch::global_asm!(
    ".text", ".p2align 4", "nop", "nop",
    "returns_from_signal:", "mov eax, 15", "syscall", "ud2",
    ".p2align 4", "nop",
    "calls:", "sub rsp, 24", "call rdi", "add rsp, 24", "ret",
);

#[repr(C)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

const RESTORER: u64 = 0x0400_0000;

#[inline(never)]
pub fn block() {
    black_box(vec![1_u8; 1000]);
}

extern "C" fn called() {
    block();
}

extern "C" fn handles(_: i32) {
    block();
}

fn forbid_nothing_by_a_filter() {
    let mut allow = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }];
    let filter = libc::sock_fprog { len: 1, filter: allow.as_mut_ptr() };
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &filter, 0, 0), 0);
    }
}

#[test]
fn a_signal_ends_by_code_of_our_own() {
    let action =
        Action { handler: handles as *const () as usize, flags: RESTORER, restorer: returns_from_signal as *const () as usize, mask: 0 };
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_rt_sigaction, libc::SIGUSR1, &action, 0_usize, 8_usize), 0);
        libc::raise(libc::SIGUSR1);
    }
}

#[test]
fn it_is_called_by_code_without_a_table() {
    unsafe { calls(called) }
}

#[test]
fn it_is_called_so_beside_a_filter() {
    forbid_nothing_by_a_filter();
    unsafe { calls(called) }
}
"#;

#[test]
fn what_has_no_table_is_known_by_its_code_or_is_marked() {
    let fixture = Fixture::copy("sandboxed");
    fixture.write("src/lib.rs", LIB);
    fixture.memprof("test --memprofilerate 1 --lib").succeed().says("test result: ok. 3 passed");
    let summary = fixture.summary();
    let unwalkable = |test: &str| summary.test(test).json["losses"]["unwalkable_stacks"].as_u64();
    assert_eq!(unwalkable("a_signal_ends_by_code_of_our_own"), Some(0));
    assert_eq!(unwalkable("it_is_called_by_code_without_a_table"), Some(1));
    assert_eq!(unwalkable("it_is_called_so_beside_a_filter"), Some(1));
    if can_read() {
        let test = "a_signal_ends_by_code_of_our_own";
        let raw = Raw::read(&summary.test(test).file("profile"));
        let blocks = raw.through("block");
        let leads = |functions: &[String]| functions.iter().any(|function| function.contains(test));
        assert!(!blocks.is_empty() && blocks.iter().all(|sample| leads(&sample.functions)));
    }
}
