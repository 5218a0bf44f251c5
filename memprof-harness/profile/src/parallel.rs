//! Work on many things at once, with results in the order of the things: whatever the threads do, the outcome is the same.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads do the work.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// `work` on each of `items`, on all cores; the results in the order of the items.
pub fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let one_thread = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            done.lock().expect("no thread panicked with the lock held").push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..cores().min(items.len()) {
            scope.spawn(one_thread);
        }
        one_thread();
    });
    let mut done = done.into_inner().expect("no thread panicked with the lock held");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
