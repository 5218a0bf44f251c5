//! How a profile comes to be: tables are filled, samples added in any order, and the whole put in order at the end.

use super::canonical::canonical;
use super::location::LocationId;
use super::sample::{Sample, SampleIndex};
use super::stack::{StackId, StackIndex};
use super::string::StringId;
use super::values::Estimated;
use super::{About, Profile};

/// A profile in the making.
#[derive(Debug, Default)]
pub struct ProfileBuilder {
    pub(super) profile: Profile,
    stacks: StackIndex,
    samples: SampleIndex,
}

impl ProfileBuilder {
    /// Goes on from a profile that is there, whose samples are all labelled with `test`; `None` leaves them the labels they have.
    pub fn from_profile(mut profile: Profile, test: Option<&str>) -> ProfileBuilder {
        if let Some(name) = test {
            let test = Some(profile.strings.intern(name));
            profile.samples.iter_mut().for_each(|sample| sample.test = test);
        }
        ProfileBuilder { profile, ..ProfileBuilder::default() }
    }

    /// The tables that locations are made of.
    pub fn tables(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The stack that has `location` innermost and is called by `caller`.
    pub fn stack(&mut self, caller: Option<StackId>, location: LocationId) -> StackId {
        self.stacks.push(&mut self.profile.stacks, caller, location)
    }

    /// Makes room for so many samples more.
    pub fn reserve(&mut self, samples: usize) {
        self.samples.reserve(&mut self.profile.samples, samples);
    }

    /// How many nodes its stacks have so far.
    pub fn nodes(&self) -> usize {
        self.profile.stacks.len()
    }

    /// How many samples it has so far.
    pub fn samples(&self) -> usize {
        self.profile.samples.len()
    }

    /// Counts `values` at `stack`, on top of what is there already for the same stack, test and block size.
    pub fn add(&mut self, stack: StackId, test: Option<StringId>, block_size: u64, values: &Estimated) {
        let sample = Sample { stack, test, block_size, values: *values };
        self.samples.add(&mut self.profile.samples, sample);
    }

    /// The finished profile.
    pub fn finish(self, about: About) -> Profile {
        // The indices are needed no more, and with many stacks they are a good part of the whole.
        let ProfileBuilder { profile, .. } = self;
        canonical(profile, about)
    }
}
