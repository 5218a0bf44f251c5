//! A lane: what one live thread writes, and no other. Its counters, and the running total from which the peak comes.
//!
//! With one thread the total is that lane's own and the peak is exact. Once a second thread takes part, lanes add
//! what changed to a shared total when it matters: when it would make a new peak, when a peak is left, and when
//! [`BATCH`] bytes have gathered. The peak is then off by at most `BATCH` for each lane.
//!
//! A lane that has found the shared total as it left it [`RUN`] times in turn, as one does whose thread works while the others wait, becomes
//! the [`LEADER`]: it tells the total of new peaks only, and of leaving them. Any other lane that has something to tell takes
//! that away first, and tells for it. What lanes keep to themselves is so at most `BATCH` as before, but for the leader's, which
//! knows when it makes a peak.

use crate::engine::alloc::block_tag::{LaneTag, Note, SlotTag, Tag, BIRTH_BITS};
use crate::engine::alloc::thread_cache::ThreadCache;
use crate::engine::life::state::{self, MULTI};
use crate::engine::record::counters::bump;
use crate::engine::record::desk::{Desk, Room, FIRST_PEAKS, FIRST_ROOM};
use crate::engine::record::sampler::Sampler;
use crate::engine::record::site_index::Index;
use crate::engine::record::site_predictor::Number;
use crate::engine::store::ledger_map;
use crate::engine::store::lock::Lock;
use crate::engine::store::own_memory;
use crate::engine::unwind::cached::Recent;
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use crate::engine::unwind::kept_walk::KeptWalk;
use crate::ledger::layout::{kind, ChunkHeader, Lane, Site};
use std::cell::{Cell, RefCell};
use std::mem::size_of;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{fence, AtomicBool, AtomicI64, AtomicPtr, AtomicU32};

/// Bytes that one lane may keep to itself before the shared total hears of them.
pub(crate) const BATCH: i64 = 4096;
/// A lane that was alone so many times in turn when it told the shared total what changed is taken to be so from then on.
const RUN: u32 = 16;
/// A block freed before its lane allocated this many more bytes was short-lived.
const SHORT_LIFE: u64 = 4096;
/// Lane numbers are kept in 16 bits of a tag.
const MOST_LANES: u32 = u16::MAX as u32;

/// The part of a lane that need not survive: private memory, used by the thread that holds the lane.
pub(crate) struct Local {
    pub(crate) record: &'static Lane,
    pub(crate) number: u32,
    /// What the tags of this lane's blocks begin with.
    tag: Tag,
    /// What its notes in front of slots begin with; `None` where they have no room for its number.
    lane_tag: Option<LaneTag>,
    /// In exact mode a lane without a `lane_tag` takes no slots.
    cache: ThreadCache,
    pub(crate) index: Index,
    /// The site of the last event.
    pub(crate) last: Cell<Number>,
    pub(crate) sites: Room,
    pub(crate) stacks: Room,
    pub(crate) peaks: Room,
    /// The stack noted last, from which the next one is told apart, and room to put one together.
    pub(crate) desk: RefCell<Desk>,
    /// The calling stack of the event before.
    pub(crate) recent: Recent,
    pub(crate) kept_walk: KeptWalk,
    sampler: RefCell<Sampler>,
    /// The shared total as this lane left it, and how many times in turn it was found so.
    left: Cell<i64>,
    run: Cell<u32>,
    /// Whether a thread has it now.
    held: AtomicBool,
    /// The lane made before; lanes are never taken down.
    next: Option<&'static Local>,
}

/// The newest lane.
static LANES: AtomicPtr<Local> = AtomicPtr::new(std::ptr::null_mut());
static LOCK: Lock = Lock::new();

/// The lane, if any, that tells the shared total of peaks alone: the others have changed nothing for a while.
static LEADER: AtomicPtr<Local> = AtomicPtr::new(std::ptr::null_mut());
/// The one that was it last, and may not have heard that it is it no more: its thread may be in the middle of an event.
static DEPOSED: AtomicPtr<Local> = AtomicPtr::new(std::ptr::null_mut());

/// The shared total before a lane told it what changed, and after.
struct Totals {
    before: i64,
    now: i64,
}

#[inline(always)]
fn bump_small(field: &AtomicU32) {
    field.store(field.load(Relaxed).saturating_add(1), Relaxed);
}

impl Local {
    /// Flushes what changed here into the shared total, and sets when to do so next. A lane that is alone has nothing to tell.
    #[cold]
    #[inline(never)]
    pub(crate) fn flush(&self) {
        if !state::is_multi() {
            return;
        }
        self.flush_for_others();
        let header = ledger_map::header();
        let Totals { before, now: total } = self.flush_total();
        self.run.set(if before == self.left.replace(total) { self.run.get().saturating_add(1) } else { 0 });
        let known = header.peak.load(Acquire);
        let peak = if total > known { header.peak.fetch_max(total, AcqRel).max(total) } else { known };
        if total == peak {
            header.at_peak.store(1, Relaxed);
        } else if header.at_peak.load(Relaxed) == 1 && header.at_peak.swap(0, AcqRel) == 1 {
            header.epoch.store(state::next_epoch(), Relaxed);
        }
        if self.is_leader() {
            self.set_bounds_of_leader(total, peak);
        } else {
            self.set_bounds(total, peak);
        }
    }

    /// Bounds within which this lane keeps to itself what changes, while the others do so, too.
    fn set_bounds(&self, total: i64, peak: i64) {
        let live = self.record.live.load(Relaxed);
        let to_peak = (peak - total).clamp(0, BATCH);
        self.record.hi.store(live + to_peak, Relaxed);
        self.record.lo.store(if total == peak { live } else { live - BATCH }, Relaxed);
    }

    /// Bounds of the lane that alone changes the total: as where there is one thread.
    fn set_bounds_of_leader(&self, total: i64, peak: i64) {
        let live = self.record.live.load(Relaxed);
        self.record.hi.store(live + (peak - total).max(0), Relaxed);
        self.record.lo.store(if total == peak { live } else { i64::MIN }, Relaxed);
        // Either this comes first, and who deposes the lane then sets other bounds; or the lane sees that it was deposed.
        fence(SeqCst);
        if LEADER.load(Relaxed) != self.pointer() {
            self.set_bounds(total, peak);
        }
    }

    fn pointer(&self) -> *mut Local {
        std::ptr::from_ref(self).cast_mut()
    }

    fn is(&self, other: &Local) -> bool {
        std::ptr::eq(self, other)
    }

    /// Whether this lane leads, now that it has told the shared total what changed. One that was alone long enough begins to.
    fn is_leader(&self) -> bool {
        let leader = LEADER.load(Relaxed);
        if leader == self.pointer() {
            return true;
        }
        self.run.get() >= RUN
            && leader.is_null()
            && LEADER.compare_exchange(leader, self.pointer(), SeqCst, Relaxed).is_ok()
    }

    /// Has the leader lead no more, if it is another lane; and tells the shared total what a leader that does not know of that yet may have
    /// changed.
    fn flush_for_others(&self) {
        if let Some(leader) = lane_in(&LEADER).filter(|leader| !leader.is(self)) {
            depose(leader);
        }
        match lane_in(&DEPOSED) {
            Some(lane) if lane.is(self) => {
                _ = DEPOSED.compare_exchange(self.pointer(), std::ptr::null_mut(), AcqRel, Relaxed);
            }
            Some(lane) => _ = lane.flush_total(),
            None => {}
        }
    }

    /// Moves what is not yet in the shared total into it. May be called by any thread.
    fn flush_total(&self) -> Totals {
        let shared = &ledger_map::header().live;
        let (live, flushed) = (self.record.live.load(Relaxed), self.record.flushed.load(Acquire));
        if live != flushed && self.record.flushed.compare_exchange(flushed, live, AcqRel, Relaxed).is_ok() {
            let before = shared.fetch_add(live - flushed, AcqRel);
            return Totals { before, now: before + (live - flushed) };
        }
        // There is nothing to flush, or somebody else flushed it for us.
        let now = shared.load(Acquire);
        Totals { before: now, now }
    }

    /// The slots that this lane may take where each has its note in front, as in exact mode.
    #[inline(always)]
    pub(crate) fn noted_slots(&self) -> Option<(LaneTag, &ThreadCache)> {
        self.lane_tag.map(|lane| (lane, &self.cache))
    }

    /// The slots that this lane may take where few have a note, as in sampled mode.
    #[inline(always)]
    pub(crate) fn cache(&self) -> &ThreadCache {
        &self.cache
    }

    pub(crate) fn cache_for_notes(&self) -> Option<&ThreadCache> {
        self.lane_tag.map(|_| &self.cache)
    }

    pub(crate) fn cache_for_any(&self) -> Option<&ThreadCache> {
        Some(&self.cache)
    }

    /// The tag of a slot's block that was born at `birth`, if it has room for a note of this lane's.
    pub(crate) fn slot_tag(&self, birth: u64, site: Option<Number>) -> Option<SlotTag> {
        self.lane_tag.filter(|_| birth >> BIRTH_BITS == 0).map(|lane| SlotTag::noted(lane, birth, site))
    }

    /// Adds an allocation to the site, or to what was lost.
    #[inline(always)]
    pub(crate) fn record_alloc(&self, site: Option<Number>, size: u64, realloc: bool) {
        let Some(number) = site else { return lose(size) };
        let site = ledger_map::site(number.offset());
        self.before_change(site);
        bump(&site.alloc_objects, 1);
        bump(&site.alloc_space, size);
        if realloc {
            bump_small(&site.reallocs);
        }
    }

    /// Notes the stack of an allocation that was due to be sampled at `clock`, and when the next one is. `None` where there is no room.
    pub(crate) fn sample(&self, frame: Frame, bounds: Bounds, size: u64, realloc: bool, clock: u64) -> Option<Number> {
        self.set_next_sample(clock);
        let site = self.site_of(frame, bounds, size);
        self.record_alloc(site, size, realloc);
        site
    }

    /// Of a block that was allocated at `clock`.
    #[inline(always)]
    pub(crate) fn note(&self, site: Option<Number>, clock: u64) -> Note {
        Note { tag: self.tag.with_site(site), birth: clock }
    }

    /// Keeps what the site had at the peak, if this is its first change since.
    #[inline(always)]
    fn before_change(&self, site: &Site) {
        let epoch = state::epoch();
        if site.epoch.load(Relaxed) != epoch {
            self.keep_peak(site);
            site.epoch.store(epoch, Relaxed);
        }
    }

    /// Whether a block is the test's, and was allocated by this process: not by one it was forked from, whose ledger
    /// has it.
    #[inline(always)]
    pub(crate) fn owns(&self, note: Note) -> bool {
        self.tag.same_process(note.tag)
    }

    /// Takes a block freed at `clock` off its site.
    #[inline(always)]
    pub(crate) fn record_free(&self, note: Note, size: u64, clock: u64) {
        if self.tag.same_lane(note.tag) {
            self.record_own_free(note.tag.site(), size, clock.wrapping_sub(note.birth));
        } else {
            self.record_foreign_free(note.tag.site(), size);
        }
    }

    /// Takes a block of this lane's off its site, after `life` bytes.
    #[inline(always)]
    pub(crate) fn record_own_free(&self, site: Option<Number>, size: u64, life: u64) {
        let Some(number) = site else { return lose_free(size) };
        let site = ledger_map::site(number.offset());
        self.before_change(site);
        bump(&site.frees, 1);
        bump(&site.freed_space, size);
        bump(&site.lifetime_space, life);
        if life <= SHORT_LIFE {
            bump_small(&site.short_lived);
            if life == 0 {
                bump_small(&site.temporary);
            }
        }
    }

    /// Another lane's block: its site is not ours to write, so this lane keeps an alias of it.
    #[inline(never)]
    pub(crate) fn record_foreign_free(&self, original: Option<Number>, size: u64) {
        let Some(alias) = original.and_then(|original| self.alias_of(original)) else { return lose_free(size) };
        let site = ledger_map::site(alias.offset());
        self.before_change(site);
        bump(&site.frees, 1);
        bump(&site.freed_space, size);
    }

    fn set_next_sample(&self, clock: u64) {
        let Ok(mut sampler) = self.sampler.try_borrow_mut() else { return };
        self.record.next_sample.store(clock.saturating_add(sampler.gap()), Relaxed);
    }

    /// Gives the lane back: the next thread goes on with its counters. Its free slots are for all threads, if they are many.
    pub(crate) fn release(&self) {
        self.cache.end();
        self.flush();
        self.held.store(false, Release);
    }
}

#[cold]
fn lose(size: u64) {
    let header = ledger_map::header();
    header.unattributed_objects.fetch_add(1, Relaxed);
    header.unattributed_space.fetch_add(size, Relaxed);
}

#[cold]
fn lose_free(size: u64) {
    let header = ledger_map::header();
    header.unattributed_frees.fetch_add(1, Relaxed);
    header.unattributed_freed_space.fetch_add(size, Relaxed);
}

/// A lane for the calling thread, or `None` where the ledger has no room for one.
pub(crate) fn take() -> Option<&'static Local> {
    LOCK.hold(|| {
        let free = lanes().find(|lane| !lane.held.load(Acquire));
        if let Some(lane) = free {
            lane.held.store(true, Relaxed);
            lane.recent.forget();
            lane.kept_walk.forget();
            return Some(lane);
        }
        make()
    })
}

/// In a forked child: its lanes are the parent's. Those it makes go into a ledger of its own.
pub(crate) fn forget_all() {
    LOCK.force_open();
    for place in [&LANES, &LEADER, &DEPOSED] {
        place.store(std::ptr::null_mut(), Release);
    }
    state::begin_generation();
}

/// Allocations, their bytes, reallocs, frees and the bytes given back, of all lanes.
pub(crate) fn totals() -> [u64; 5] {
    let mut totals = [0_u64; 5];
    for lane in lanes().map(|lane| lane.record) {
        let alloc_objects = lane.classes.iter().map(|class| class.load(Relaxed)).fold(0, u64::wrapping_add);
        let alloc_space = lane.alloc_space.load(Relaxed);
        let freed_space = alloc_space.wrapping_sub(lane.live.load(Relaxed) as u64);
        let numbers = [alloc_objects, alloc_space, lane.reallocs.load(Relaxed), lane.frees.load(Relaxed), freed_space];
        totals.iter_mut().zip(numbers).for_each(|(total, number)| *total = total.wrapping_add(number));
    }
    totals
}

fn lanes() -> impl Iterator<Item = &'static Local> {
    std::iter::successors(newest(), |lane| lane.next)
}

fn newest() -> Option<&'static Local> {
    lane_in(&LANES)
}

/// The lane in one of the places for them: [`LANES`], [`LEADER`], [`DEPOSED`].
#[allow(unsafe_code)]
fn lane_in(place: &AtomicPtr<Local>) -> Option<&'static Local> {
    // SAFETY: null, or a lane that `make` published whole and that is never freed.
    unsafe { place.load(Acquire).as_ref() }
}

/// Has this lane lead no more, and attend to whatever happens to it next.
fn depose(leader: &'static Local) {
    let place = leader.pointer();
    // Before and after: the lane itself takes it for known while it leads.
    DEPOSED.store(place, SeqCst);
    if LEADER.compare_exchange(place, std::ptr::null_mut(), SeqCst, Relaxed).is_ok() {
        DEPOSED.store(place, SeqCst);
        fence(SeqCst);
        leader.record.hi.store(i64::MIN, Relaxed);
        leader.record.lo.store(i64::MAX, Relaxed);
    }
}

/// Writes a struct into zeroed memory field by field, but for those of which zeros are a valid value. As a whole it would pass
/// over the stack, and a lane takes several pages: more than there may be on the stack of a signal handler or a
/// coroutine, whose thread allocates there first.
macro_rules! write_in_place {
    ($place:ident, [$($zeros:ident),*], $type:ident { $($field:ident: $value:expr),* $(,)? }) => {
        // No field is forgotten.
        let _ = |$type { $($field: _,)* $($zeros: _),* }: $type| ();
        $(
            // SAFETY: the fresh pages are large and aligned enough, and nobody else knows of them.
            unsafe { std::ptr::addr_of_mut!((*$place).$field).write($value) };
        )*
    };
}

/// Makes a lane, held. Called with the lock held.
#[allow(unsafe_code)]
fn make() -> Option<&'static Local> {
    let header = ledger_map::header();
    let number = header.lanes.load(Relaxed) + 1;
    if number > MOST_LANES {
        return None;
    }
    let index = Index::new()?;
    let place = own_memory::private_bytes(size_of::<Local>())?.cast::<Local>().as_ptr();
    let chunk = ledger_map::chunk(kind::LANE, number, size_of::<Lane>())?;
    let record = ledger_map::lane(chunk + size_of::<ChunkHeader>() as u64);
    record.lo.store(i64::MIN, Relaxed);
    if number > 1 {
        // Whatever happens first calls for attention: the flush then sets real bounds.
        record.hi.store(i64::MIN, Relaxed);
    }
    write_in_place!(
        place,
        [cache, recent, desk, left, run],
        Local {
            record: record,
            number: number,
            tag: Tag::of_lane(number),
            lane_tag: LaneTag::of(number),
            index: index,
            last: Cell::new(Number::NONE),
            sites: Room::new(kind::SITES, FIRST_ROOM),
            stacks: Room::new(kind::STACKS, FIRST_ROOM),
            peaks: Room::new(kind::PEAKS, FIRST_PEAKS),
            kept_walk: KeptWalk::new(),
            sampler: RefCell::new(Sampler::of_lane(header.seed.load(Relaxed), number, header.rate.load(Relaxed))),
            held: AtomicBool::new(true),
            next: newest(),
        }
    );
    // SAFETY: just written, never moved or freed; what was not written is made of numbers and pointers, which zeros are.
    let local: &'static Local = unsafe { &*place };
    local.recent.forget();
    local.set_next_sample(0);
    ledger_map::chunk_header(chunk).used.store(size_of::<Lane>() as u64, Release);
    LANES.store(place, Release);
    header.lanes.store(number, Relaxed);
    if number == 2 {
        go_multi();
    }
    Some(local)
}

/// From here on there is a shared total. What the first lane had alone goes into it; its thread may be in the middle of
/// an event, and hears of the change at its next one.
fn go_multi() {
    let header = ledger_map::header();
    state::set(MULTI);
    header.batch.store(BATCH as u32, Relaxed);
    header.multi.store(1, Release);
    let Some(first) = lanes().last() else { return };
    let (live, peak): (i64, &AtomicI64) = (first.record.live.load(Relaxed), &first.record.hi);
    header.peak.fetch_max(peak.load(Relaxed), AcqRel);
    header.at_peak.store(u32::from(live >= header.peak.load(Relaxed)), Relaxed);
    first.flush_total();
}
