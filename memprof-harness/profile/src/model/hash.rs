//! A fast hash for small integer keys. It is not hardened against chosen keys: what is hashed here are ids that this
//! program handed out itself and addresses of code.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

/// A map whose keys are ids or addresses.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// A set of ids or addresses.
pub type IdSet<K> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// Multiplies and rotates, word by word.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

/// 2^64 divided by the golden ratio, odd: spreads neighbouring keys over all upper bits (Knuth, TAOCP 6.4).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(SPREAD);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        // The map takes its bucket from the lower bits, and the multiplication mixes upwards only.
        self.0 ^ (self.0 >> 32)
    }
}

/// The hash of a key that is made of ids.
pub fn id_hash(key: &impl Hash) -> u64 {
    BuildHasherDefault::<IdHasher>::default().hash_one(key)
}
