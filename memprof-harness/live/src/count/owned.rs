//! The blocks that regions want to know of: which region each belongs to, by its address.

use crate::active::Listening;
use crate::count::events;
use crate::count::process;
use crate::count::region::State;
use crate::count::spin::Spin;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

const SHARDS: usize = 64;

struct Block {
    size: u64,
    state: Option<Arc<State>>,
    /// Of the stack that allocated it, in its region's sites.
    stack: Option<u32>,
    /// When it was allocated, for regions of the whole process.
    born: u64,
}

/// The blocks of some addresses.
struct Shard {
    blocks: HashMap<usize, Block, BuildHasherDefault<AddressHasher>>,
    /// There since the first block was entered: somebody has to tell of each one's end.
    listening: Option<Listening>,
}

impl Shard {
    const EMPTY: Shard = Shard { blocks: HashMap::with_hasher(BuildHasherDefault::new()), listening: None };

    fn insert(&mut self, address: usize, block: Block) -> Option<Block> {
        self.listening.get_or_insert_with(Listening::to_all);
        self.blocks.insert(address, block)
    }
}

/// An address is spread well enough by one multiplication.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = spread(address);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn spread(address: usize) -> u64 {
    let product = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

static TABLE: [Spin<Shard>; SHARDS] = [const { Spin::new(Shard::EMPTY) }; SHARDS];

fn shard(address: usize) -> &'static Spin<Shard> {
    &TABLE[(spread(address) >> 58) as usize % SHARDS]
}

/// What was known of a block that is about to be resized.
#[derive(Default)]
pub(crate) struct Taken(Option<Block>);

impl Taken {
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

/// Enters a block, if anybody wants to know of it.
pub(crate) fn insert(block: *mut u8, size: usize, state: Option<&Arc<State>>, stack: Option<u32>) {
    let born = process::born(size);
    if state.is_none() && born.is_none() {
        return;
    }
    if let Some(state) = state {
        state.born(size as u64);
    }
    let entry = Block { size: size as u64, state: state.cloned(), stack, born: born.unwrap_or(0) };
    let address = block as usize;
    let old = shard(address).lock().insert(address, entry);
    // Its end was not told: it was freed past the counting allocator.
    if let Some(old) = old {
        ended(&old);
    }
}

/// The block is given back.
pub(crate) fn take(block: *mut u8) {
    if let Some(block) = remove(block) {
        ended(&block);
    }
}

fn remove(block: *mut u8) -> Option<Block> {
    let address = block as usize;
    shard(address).lock().blocks.remove(&address)
}

fn ended(block: &Block) {
    if let Some(state) = &block.state {
        events::meet(state);
        state.gone(block.size);
    }
    process::gone(block.born, block.size);
}

pub(crate) fn take_out(block: *mut u8) -> Taken {
    Taken(remove(block))
}

/// A block that was taken out is at this place now, with this size; it stays whose it was.
pub(crate) fn put_back(taken: Taken, block: *mut u8, size: usize) {
    let Taken(Some(mut entry)) = taken else { return };
    if entry.size != size as u64 {
        if let Some(state) = &entry.state {
            events::meet(state);
            state.resized(entry.size, size as u64);
        }
        process::resized(entry.born, entry.size, size as u64);
        entry.size = size as u64;
    }
    let address = block as usize;
    shard(address).lock().insert(address, entry);
}

/// Nobody need tell of blocks where none is known.
pub(crate) fn rest() {
    for shard in &TABLE {
        let mut shard = shard.lock();
        if shard.blocks.is_empty() {
            shard.listening = None;
        }
    }
}

/// Drops what no open region wants to know of any more.
pub(crate) fn forget_closed() {
    let oldest = process::oldest();
    for shard in &TABLE {
        let mut shard = shard.lock();
        shard.blocks.retain(|_, block| {
            let is_counted = block.state.as_ref().is_some_and(|state| state.all().any(|state| state.is_open()));
            is_counted || oldest.is_some_and(|oldest| block.born >= oldest)
        });
    }
}

/// The stacks of a region's live blocks, each with how many blocks and bytes.
pub(crate) fn live_stacks(of: &Arc<State>) -> HashMap<Option<u32>, (u64, u64)> {
    let mut found = HashMap::new();
    for shard in &TABLE {
        for block in shard.lock().blocks.values() {
            let is_its = block.state.as_ref().is_some_and(|state| state.all().any(|state| Arc::ptr_eq(state, of)));
            if is_its {
                let (objects, space) = found.entry(block.stack).or_insert((0, 0));
                *objects += 1;
                *space += block.size;
            }
        }
    }
    found
}
