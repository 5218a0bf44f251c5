//! How a profile comes to be: tables are filled, samples added in any order, and the whole put in order at the end.

use super::canonical::canonical;
use super::hash::IdMap;
use super::location::LocationId;
use super::sample::Sample;
use super::stack::{StackId, StackIndex};
use super::string::StringId;
use super::values::Estimated;
use super::{About, Profile};

/// A profile in the making.
#[derive(Debug, Default)]
pub struct ProfileBuilder {
    pub(super) profile: Profile,
    stacks: StackIndex,
    /// Which sample has which stack, test and block size.
    index: IdMap<(StackId, Option<StringId>, u64), usize>,
}

impl ProfileBuilder {
    /// The tables that locations are made of.
    pub fn tables(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The stack that has `location` innermost and is called by `caller`.
    pub fn stack(&mut self, caller: Option<StackId>, location: LocationId) -> StackId {
        self.stacks.push(&mut self.profile.stacks, caller, location)
    }

    /// Counts `values` at `stack`, on top of what is there already for the same stack, test and block size.
    pub fn add(&mut self, stack: StackId, test: Option<StringId>, block_size: u64, values: &Estimated) {
        let next = self.profile.samples.len();
        let at = *self.index.entry((stack, test, block_size)).or_insert(next);
        if at == next {
            self.profile.samples.push(Sample { stack, test, block_size, values: *values });
        } else {
            self.profile.samples[at].values += values;
        }
    }

    /// The finished profile.
    pub fn finish(self, about: About) -> Profile {
        canonical(&self.profile, about)
    }
}
