//! Symbols that a program may have or not. Stable Rust has no weak ones, so the linker's table is read as a compiler of C would have it
//! read.

/// The address of the symbol with this name, which is a literal or some put together; 0 where the
/// program has none.
macro_rules! weak_address {
    ($name:expr) => {{
        let address: usize;
        #[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
        // SAFETY: loads a word of the global offset table, which the linker makes: the symbol's address, or 0.
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $name),
                concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                out(reg) address,
                options(nostack, preserves_flags, pure, readonly)
            );
        }
        #[cfg(all(target_os = "linux", target_arch = "aarch64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $name),
                concat!("adrp {0}, :got:", $name),
                concat!("ldr {0}, [{0}, :got_lo12:", $name, "]"),
                out(reg) address,
                options(nostack, preserves_flags, pure, readonly)
            );
        }
        #[cfg(any(miri, not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))))]
        {
            address = 0;
        }
        address
    }};
}

pub(crate) use weak_address;
