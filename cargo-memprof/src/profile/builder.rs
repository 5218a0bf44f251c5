//! How a profile comes to be: tables are filled, samples added in any order, and the whole put in order at the end.

use super::canonical::canonical;
use super::hash::IdMap;
use super::sample::Sample;
use super::stack::StackId;
use super::string::StringId;
use super::values::Estimated;
use super::{About, Profile};

/// A profile in the making.
#[derive(Debug, Default)]
pub struct ProfileBuilder {
    pub(super) profile: Profile,
    /// Which sample has which stack, test and block size.
    index: IdMap<(StackId, Option<StringId>, u64), usize>,
}

impl ProfileBuilder {
    /// The tables, for the ids that [`ProfileBuilder::add`] wants. Samples are not to be touched.
    pub fn tables(&mut self) -> &mut Profile {
        &mut self.profile
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
