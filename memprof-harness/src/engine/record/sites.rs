//! Sites: the site records in the ledger, and the stacks themselves. Each stack is written once, as its difference from the one before. Which
//! stacks a lane has met is in its `site_index`.

use crate::engine::life::{state, thread};
use crate::engine::record::desk::{Desk, Stack};
use crate::engine::record::lane::Local;
use crate::engine::record::site_predictor::Number;
use crate::engine::store::ledger_map;
use crate::engine::unwind::chain::{End, Kept};
use crate::engine::unwind::code_at;
use crate::engine::unwind::excerpt::Spelt;
use crate::engine::unwind::frame_pointer::{self, Bounds, Frame, Held};
use crate::engine::unwind::kept_room::{Home, Known};
use crate::engine::unwind::memory::Memory;
use crate::engine::unwind::table_walk::{Ending, TableWalk};
use crate::engine::unwind::tables::{self, FramePointer, Rule};
use crate::ledger::layout::{site_flag, PeakRecord, Site, StackRecord, DEFAULT_DEPTH, PEAKED};
use std::mem::{size_of, size_of_val};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

impl Local {
    /// The site of the calling stack. `size` is the block's where sites are told apart by it, else 0.
    #[inline(always)]
    pub(crate) fn site_of(&self, frame: Frame, bounds: Bounds, size: u64) -> Option<Number> {
        let Some(hash) = self.recent.know(frame, bounds) else { return self.site_elsewhere(frame, bounds, size) };
        let site = if size == 0 { self.site_after_last(hash) } else { self.site_with_size(hash, size) };
        self.recent.release();
        site
    }

    /// The site of the stack that is kept. Tries the one that came after the last event's site before.
    #[inline(always)]
    fn site_after_last(&self, key: u64) -> Option<Number> {
        let last = self.last.get();
        let mut site = last.link().next();
        if !site.has(key) {
            site = match self.index.find(key) {
                Some(found) => found,
                None => return self.first_site_after(last, key),
            };
            // What follows a site is its own lane's, so nothing may follow what every lane begins with.
            if last != Number::NONE {
                last.link().set_next(site);
            }
        }
        self.last.set(site);
        Some(site)
    }

    /// As [`Local::site_after_last`], where there is no site with the key. What is no chain of frame pointers has another key, so it is
    /// guessed of nothing.
    #[cold]
    #[inline(never)]
    fn first_site_after(&self, last: Number, key: u64) -> Option<Number> {
        let kept = self.recent.kept();
        if !self.is_stack(kept, key) {
            return self.site_by_walk(kept.frame, thread::bounds(), 0);
        }
        let site = self.new_site(&kept, false, key, 0)?;
        if last != Number::NONE {
            last.link().set_next(site);
        }
        self.last.set(site);
        Some(site)
    }

    /// The site of the stack that is kept, for blocks of that size. Few sites have most of the bytes, so the last one is often the next one.
    #[inline(always)]
    fn site_with_size(&self, hash: u64, size: u64) -> Option<Number> {
        let key = frame_pointer::with_size(hash, size);
        let last = self.last.get();
        if last.has(key) {
            return Some(last);
        }
        self.other_site_with_size(key, size)
    }

    #[cold]
    #[inline(never)]
    fn other_site_with_size(&self, key: u64, size: u64) -> Option<Number> {
        let site = match self.index.find(key) {
            Some(site) => site,
            None => {
                let kept = self.recent.kept();
                if !self.is_stack(kept, key) {
                    return self.site_by_walk(kept.frame, thread::bounds(), size);
                }
                self.new_site(&kept, false, key, size)?
            }
        };
        self.last.set(site);
        Some(site)
    }

    /// The site of a stack that is not the thread's own, that is no chain of frame pointers, too deep, or a signal handler's that came in
    /// the middle.
    #[cold]
    #[inline(never)]
    fn site_elsewhere(&self, frame: Frame, bounds: Bounds, size: u64) -> Option<Number> {
        let is_own = bounds.hold(frame.0);
        if is_own && !self.recent.is_parked() {
            return self.site_by_tables(frame, bounds, size);
        }
        if size == 0 {
            if let Some(site) = self.kept_walk.noted(frame, self.recent.root()) {
                return Some(Number::in_lower_bits(site));
            }
        }
        let known = self.kept_walk.know(frame, self.home(bounds));
        if is_own && known.is_some_and(|known| known.is_chain) {
            self.kept_walk.release();
            self.recent.unpark();
            return self.site_of(frame, bounds, size);
        }
        self.site_of_walk(known, frame, bounds, size)
    }

    /// The site of a stack of which the chain of frame pointers is not all. So is the next one's, probably.
    fn site_by_walk(&self, frame: Frame, bounds: Bounds, size: u64) -> Option<Number> {
        let known = self.kept_walk.know(frame, self.home(bounds));
        if known.is_some_and(|known| !known.is_chain) {
            self.recent.park();
        }
        self.site_of_walk(known, frame, bounds, size)
    }

    fn home(&self, own_stack: Bounds) -> Home {
        Home { own_stack, root: self.recent.root(), anchor: self.recent.anchored_at() }
    }

    /// The site of the stack that the walk by tables has found.
    fn site_of_walk(&self, known: Option<Known>, frame: Frame, bounds: Bounds, size: u64) -> Option<Number> {
        let Some(Known { hash, is_chain, is_lost, root }) = known else {
            return self.site_by_tables(frame, bounds, size);
        };
        let key = if size == 0 { hash } else { frame_pointer::with_size(hash, size) };
        let site = self.index.find(key).or_else(|| self.new_site(&self.kept_walk, is_lost, key, size));
        // With its size a block's site is another. What has become a chain again is asked of chains.
        let is_noted = size == 0 && !(is_chain && bounds.hold(frame.0));
        self.kept_walk.note(site.filter(|_| is_noted).map_or(0, Number::get));
        self.kept_walk.release();
        if let Some(root) = root.filter(|_| self.recent.root().is_none()) {
            self.recent.set_root(root);
        }
        site
    }

    /// Whether a chain of frame pointers is the calling stack: each of its functions has a frame pointer, by its table, and
    /// the outermost has no caller. What it shares with the chain that was asked for last was asked for then.
    fn is_stack(&self, Kept { chain, hashes, end, frame }: Kept<'_>, key: u64) -> bool {
        let Ok(mut desk) = self.desk.try_borrow_mut() else { return false };
        if desk.detour(key).is_some_and(|detour| *detour == key) {
            return false;
        }
        let Some((outermost, rest)) = chain.split_last() else { return false };
        let frame_pointer = |held: &Held| tables::frame_pointer(held.address.get());
        let ends = match end {
            End::AtRoot => true,
            End::NoCaller => frame_pointer(outermost) == FramePointer::Known,
            End::Astray => {
                let is_guess = rest.last().is_some_and(|inner| frame_pointer(inner) == FramePointer::Guessed);
                !is_guess && tables::rule(outermost.address.get()).rule == Rule::Outermost
            }
        };
        let unloads = code_at::unloads();
        let fresh = rest.get(..desk.checked.fresh(hashes, unloads).min(rest.len())).unwrap_or(&[]);
        let places = std::iter::once(frame.0).chain(chain.iter().map(|held| held.next.get()));
        let mut memory = Memory::new(thread::bounds());
        let leads_on = |((inner, caller), place): ((&Held, &Held), usize)| match frame_pointer(inner) {
            FramePointer::Known => true,
            FramePointer::Guessed => {
                tables::calls_without_table(caller.address.get())
                    && !memory.may_hold_return_address(place + 16, inner.next.get())
            }
            FramePointer::Missing => false,
        };
        let is_stack = ends && fresh.iter().zip(chain.iter().skip(1)).zip(places).all(leads_on);
        if is_stack {
            desk.checked.note(hashes, unloads);
        } else if let Some(place) = desk.detour(key) {
            *place = key;
        }
        is_stack
    }

    /// The site of the calling stack, which is walked by its tables.
    #[cold]
    #[inline(never)]
    fn site_by_tables(&self, frame: Frame, bounds: Bounds, size: u64) -> Option<Number> {
        // In the middle of another event's stack, a signal handler's is lost.
        let mut desk = self.desk.try_borrow_mut().ok()?;
        let Desk { previous, excerpt, .. } = &mut *desk;
        let mut walk = TableWalk::new(bounds, self.recent.root());
        excerpt.begin(depth());
        let ending = walk.go(frame, |step, _| {
            if step.address != 0 {
                excerpt.add(step);
            }
            false
        });
        let (words, is_cut, hash) = excerpt.finish(ending);
        let key = if size == 0 { hash } else { frame_pointer::with_size(hash, size) };
        let site = match self.index.find(key) {
            Some(site) => Some(site),
            None => {
                let flags = flags(is_cut, matches!(ending, Ending::Lost { .. }));
                let stack = self.note_stack(previous, words, flags, size);
                stack.and_then(|stack| self.add_site(key, stack))
            }
        };
        if self.recent.root().is_none() {
            if let Some(root) = walk.found_root() {
                self.recent.set_root(root);
            }
        }
        site
    }

    /// Makes a site of a stack.
    #[cold]
    #[inline(never)]
    fn new_site(&self, stack: &impl Spelt, is_lost: bool, key: u64, size: u64) -> Option<Number> {
        let mut desk = self.desk.try_borrow_mut().ok()?;
        let Desk { previous, excerpt, .. } = &mut *desk;
        let (words, is_cut) = excerpt.of(depth(), stack);
        let stack = self.note_stack(previous, words, flags(is_cut, is_lost), size)?;
        self.add_site(key, stack)
    }

    /// This lane's alias of another lane's site.
    pub(crate) fn alias_of(&self, original: Number) -> Option<Number> {
        let key = frame_pointer::with_size(original.offset(), u64::MAX);
        if let Some(site) = self.index.find(key) {
            return Some(site);
        }
        let stack = self.stacks.take(self.number, size_of::<StackRecord>())?;
        let record = ledger_map::stack_record(stack);
        record.size.store(original.offset(), Relaxed);
        record.flags.store(site_flag::ALIAS, Relaxed);
        self.stacks.publish();
        self.add_site(key, stack)
    }

    fn add_site(&self, key: u64, stack: u64) -> Option<Number> {
        let offset = self.sites.take(self.number, size_of::<Site>())?;
        let site = ledger_map::site(offset);
        site.key.store(key as u32, Relaxed);
        site.origin.store(u32::try_from(stack / 8).ok().filter(|origin| origin & PEAKED == 0)?, Relaxed);
        // It had nothing at any peak so far.
        site.epoch.store(state::epoch(), Relaxed);
        self.sites.publish();
        let number = Number::of(offset);
        number.link().begin(key);
        self.index.enter(key, number)?;
        Some(number)
    }

    /// Writes down what the site has: it is what it had at the peak that was just left.
    #[inline(never)]
    pub(crate) fn keep_peak(&self, site: &Site) {
        let live = |made: &AtomicU64, gone: &AtomicU64| made.load(Relaxed).wrapping_sub(gone.load(Relaxed)) as i64;
        let objects = live(&site.alloc_objects, &site.frees);
        let space = live(&site.alloc_space, &site.freed_space);
        let origin = site.origin.load(Relaxed);
        if origin & PEAKED == 0 && (objects | space) == 0 {
            return;
        }
        let place = if origin & PEAKED == 0 {
            self.peaks.take(self.number, size_of::<PeakRecord>())
        } else {
            Some(Site::offset_of_origin(origin))
        };
        let Some(place) = place else {
            ledger_map::header().lost_peaks.fetch_add(1, Relaxed);
            return;
        };
        let record = ledger_map::peak_record(place);
        record.objects.store(objects, Relaxed);
        record.space.store(space, Relaxed);
        if origin & PEAKED == 0 {
            record.origin.store(u64::from(origin), Relaxed);
            self.peaks.publish();
            // Chunks lie within what `add_site` could tell, or there would be no site.
            site.origin.store((place / 8) as u32 | PEAKED, Release);
        }
    }

    /// Writes a stack down. Gives the offset of its record.
    fn note_stack(&self, previous: &mut Stack, words: &[u64], flags: u32, size: u64) -> Option<u64> {
        let shared = previous.shared_with(words.iter().rev());
        let fresh = words.get(..words.len() - shared)?;
        let offset = self.stacks.take(self.number, size_of::<StackRecord>() + size_of_val(fresh))?;
        let record = ledger_map::stack_record(offset);
        record.size.store(size, Relaxed);
        record.fresh.store(fresh.len() as u16, Relaxed);
        record.shared.store(shared as u16, Relaxed);
        record.flags.store(flags, Relaxed);
        let places = ledger_map::words(offset + size_of::<StackRecord>() as u64, fresh.len());
        places.iter().zip(fresh).for_each(|(place, word)| place.store(*word, Relaxed));
        self.stacks.publish();
        previous.change(fresh, shared)?;
        Some(offset)
    }
}

/// Frames kept of one stack.
fn depth() -> usize {
    match ledger_map::header().depth.load(Relaxed) {
        0 => DEFAULT_DEPTH,
        depth => depth as usize,
    }
}

/// The flags of a new stack, which is counted if it is not whole.
fn flags(is_cut: bool, is_lost: bool) -> u32 {
    let header = ledger_map::header();
    let mut flags = 0;
    if is_cut {
        header.truncated_stacks.fetch_add(1, Relaxed);
        flags |= site_flag::TRUNCATED;
    }
    if is_lost {
        header.unwalkable_stacks.fetch_add(1, Relaxed);
        flags |= site_flag::UNWALKABLE;
    }
    flags
}
