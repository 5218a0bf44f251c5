//! Finds std's own work on the stack: what its set-up allocates before it calls `main` does not count as the program's, nor does the memory
//! for its list of live threads.

#![allow(unsafe_code)] // reads the frame pointers of the calling thread's own stack

#[cfg(any(memprof_program, memprof_injected))]
pub(crate) use callers::{is_in_thread_info, knows_thread_info, set_thread_info};
#[cfg(memprof_program)]
pub(crate) use set_up::{part, set, Part};

#[cfg(any(memprof_program, memprof_injected))]
mod callers {
    use crate::engine::unwind::frame_pointer::{Bounds, Frame};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// The return addresses of the frames from `frame` outwards, as far as they lie on the calling thread's own stack.
    pub(super) fn callers(frame: Frame, bounds: Bounds) -> impl Iterator<Item = usize> {
        let mut at = Some(frame.0);
        std::iter::from_fn(move || {
            let here = at.filter(|&here| bounds.hold(here))?;
            // SAFETY: it was checked to lie, with the word after it, inside this thread's stack, which is mapped and
            // readable from the current frame outwards. A frame record is [caller's frame, return address].
            let [next, address] = unsafe { *(here as *const [usize; 2]) };
            at = (next > here).then_some(next);
            Some(address)
        })
    }

    /// A function's first byte and end, as loaded.
    pub(super) struct Function([AtomicUsize; 2]);

    impl Function {
        pub(super) const NONE: Function = Function([const { AtomicUsize::new(0) }; 2]);

        pub(super) fn set(&self, start: usize, end: usize) {
            let [first, last] = &self.0;
            first.store(start, Relaxed);
            last.store(end, Relaxed);
        }

        fn is_known(&self) -> bool {
            self.0[1].load(Relaxed) != 0
        }

        /// Whether a call in it returns to `address`.
        pub(super) fn called(&self, address: usize) -> bool {
            let [start, end] = &self.0;
            // What never returns may be called by the last instruction.
            address > start.load(Relaxed) && address <= end.load(Relaxed)
        }
    }

    /// Enters a new thread in std's map of those that are alive.
    static THREAD_INFO: Function = Function::NONE;

    pub(crate) fn set_thread_info(start: usize, end: usize) {
        THREAD_INFO.set(start, end);
    }

    pub(crate) fn knows_thread_info() -> bool {
        THREAD_INFO.is_known()
    }

    /// Whether the calling thread is entering itself in that map.
    #[cold]
    pub(crate) fn is_in_thread_info(frame: Frame, bounds: Bounds) -> bool {
        /// Frames between an allocation in the map and the function; std's are optimised, so there are fewer.
        const FRAMES: usize = 64;
        callers(frame, bounds).take(FRAMES).any(|address| THREAD_INFO.called(address))
    }
}

#[cfg(memprof_program)]
mod set_up {
    use super::callers::{callers, Function};
    use crate::engine::unwind::frame_pointer::{Bounds, Frame};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Frames that are followed.
    const DEEPEST: usize = 4096;
    /// Functions that begin `main` or a thread: more in one program are not told apart.
    const MOST: usize = 1024;
    static SET_UP: Function = Function::NONE;
    static MAIN: [Function; MOST] = [Function::NONE; MOST];
    static MAINS: AtomicUsize = AtomicUsize::new(0);

    /// Notes the functions by which [`part`] tells: the one that sets up first. Gives whether there are any. Takes no memory.
    pub(crate) fn set(functions: impl Iterator<Item = [usize; 2]>) -> bool {
        let mut set_up = None;
        let mut mains = 0;
        for [start, end] in functions {
            match (set_up, MAIN.get(mains)) {
                (None, _) => set_up = Some([start, end]),
                (Some(_), Some(place)) => {
                    place.set(start, end);
                    mains += 1;
                }
                (Some(_), None) => return false,
            }
        }
        let Some([start, end]) = set_up.filter(|_| mains > 0) else { return false };
        MAINS.store(mains, Relaxed);
        SET_UP.set(start, end);
        true
    }

    /// Whose part of the program the calling thread is in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Part {
        /// std's, before `main` or after it.
        SetUp,
        /// `main`.
        Main,
        /// Neither: before std's set-up began, or at a place from which no frames lead there.
        Elsewhere,
    }

    /// By the return addresses of the frames from `frame` outwards.
    #[cold]
    pub(crate) fn part(frame: Frame, bounds: Bounds) -> Part {
        for address in callers(frame, bounds).take(DEEPEST) {
            if MAIN.iter().take(MAINS.load(Relaxed)).any(|main| main.called(address)) {
                return Part::Main;
            }
            if SET_UP.called(address) {
                return Part::SetUp;
            }
        }
        Part::Elsewhere
    }
}
