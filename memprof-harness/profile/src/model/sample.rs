//! The samples of a profile.

use super::hash::id_hash;
use super::stack::StackId;
use super::string::StringId;
use super::values::Estimated;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// What happened at one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where.
    pub stack: StackId,
    /// The test it happened in; `None` in the profile of a single test.
    pub test: Option<StringId>,
    /// Size of every block counted here, in bytes; 0 = they differ.
    pub block_size: u64,
    /// How much.
    pub values: Estimated,
}

impl Sample {
    /// No two samples of a profile have the same.
    fn key(&self) -> (StackId, Option<StringId>, u64) {
        (self.stack, self.test, self.block_size)
    }
}

/// Which samples there are, while they are being gathered.
#[derive(Debug, Default)]
pub(super) struct SampleIndex {
    /// The numbers of the first so many samples; the rest is put in when it is needed.
    numbers: HashTable<u32>,
}

impl SampleIndex {
    /// Makes room for so many samples more, which `samples` are going to have: to make it bit by bit takes as long again.
    pub(super) fn reserve(&mut self, samples: &mut Vec<Sample>, more: usize) {
        samples.reserve(more);
        self.numbers.reserve(samples.len() + more, |number| id_hash(&samples[*number as usize].key()));
    }

    /// Adds `sample` to `samples`, or its values to those of the one with the same key.
    pub(super) fn add(&mut self, samples: &mut Vec<Sample>, sample: Sample) {
        let hash = |number: &u32| id_hash(&samples[*number as usize].key());
        for number in self.numbers.len()..samples.len() {
            let number = number as u32;
            self.numbers.insert_unique(hash(&number), number, hash);
        }
        let is_it = |number: &u32| samples[*number as usize].key() == sample.key();
        match self.numbers.entry(id_hash(&sample.key()), is_it, hash) {
            Entry::Occupied(found) => samples[*found.get() as usize].values += &sample.values,
            Entry::Vacant(place) => {
                place.insert(u32::try_from(samples.len()).expect("no profile has 2^32 samples"));
                samples.push(sample);
            }
        }
    }
}
