//! Work on many things at once, with results in the order of the things: whatever the threads do, the outcome is the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

/// How many threads do the work.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// `work` on each of `items`, on all cores; the results in the order of the items.
pub fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_all_cores_within(usize::MAX, items, |_| 0, work)
}

/// The same where each item has a weight, such as the memory that its work takes: those at work at once have at most `most` together, and
/// one that has more by itself is worked on alone.
pub fn on_all_cores_within<T: Sync, R: Send>(
    most: usize,
    items: &[T],
    weight: impl Fn(&T) -> usize + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let load = Load { most, now: Mutex::new(0), changed: Condvar::new() };
    let one_thread = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let share = load.take(weight(item));
            let result = work(item);
            drop(share);
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

/// The weights of all that is at work.
struct Load {
    most: usize,
    now: Mutex<usize>,
    changed: Condvar,
}

impl Load {
    /// Waits until there is room. No weight counts as more than all room, so that each is alone at worst.
    fn take(&self, weight: usize) -> Share<'_> {
        let weight = weight.min(self.most);
        let now = self.now.lock().expect("no thread panicked with the lock held");
        let is_full = |now: &mut usize| *now > self.most - weight;
        let mut now = self.changed.wait_while(now, is_full).expect("no thread panicked with the lock held");
        *now += weight;
        Share { load: self, weight }
    }
}

/// Is given back when it is dropped, also by a panic, which would have the others wait forever.
struct Share<'a> {
    load: &'a Load,
    weight: usize,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.load.now.lock().expect("no thread panicked with the lock held") -= self.weight;
        self.load.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_work_weighs_no_more_than_it_may() {
        let items: Vec<usize> = (0..200).map(|i| 1 + i * 7 % 15).collect();
        let (now, alone) = (Mutex::new(0), Mutex::new(0));
        let results = on_all_cores_within(
            10,
            &items,
            |&weight| weight,
            |&weight| {
                *now.lock().expect("nothing panics") += weight;
                std::thread::yield_now();
                let mut now = now.lock().expect("nothing panics");
                assert!(*now <= 10.max(weight), "{now} with {weight}");
                *alone.lock().expect("nothing panics") += usize::from(weight > 10);
                *now -= weight;
                weight * 2
            },
        );
        assert_eq!(results, items.iter().map(|weight| weight * 2).collect::<Vec<_>>());
        assert!(*alone.lock().expect("nothing panics") > 0);
    }
}
