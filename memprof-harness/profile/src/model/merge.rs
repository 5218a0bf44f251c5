//! Several profiles as one.

use super::canonical::copy_location;
use super::hash::IdMap;
use super::location::LocationId;
use super::stack::StackId;
use super::string::StringId;
use super::table::RowId;
use super::{Profile, ProfileBuilder};

impl ProfileBuilder {
    /// Adds all that is in `other`, the smaller to the larger of the two: what one test leaves is often larger than all others together.
    pub fn append(&mut self, mut other: ProfileBuilder) {
        if other.nodes() > self.nodes() {
            std::mem::swap(self, &mut other);
        }
        self.merge(&other.profile, None);
    }

    /// Adds all of `profile`. Its samples are labelled with `test`; `None` leaves them the labels they have.
    pub fn merge(&mut self, profile: &Profile, test: Option<&str>) {
        let to = self.tables();
        let locations: Vec<LocationId> = profile
            .locations
            .iter()
            .map(|(_, location)| {
                let location = copy_location(profile, location, to);
                to.locations.intern(location)
            })
            .collect();
        let mut stacks: Vec<StackId> = Vec::with_capacity(profile.stacks.len());
        for (_, node) in profile.stacks.iter() {
            let caller = node.caller.map(|id| stacks[id.index()]);
            stacks.push(self.stack(caller, locations[node.location.index()]));
        }
        let test = test.map(|name| self.profile.strings.intern(name));
        let mut own_tests: IdMap<StringId, StringId> = IdMap::default();
        for sample in &profile.samples {
            let own = sample
                .test
                .map(|id| *own_tests.entry(id).or_insert_with(|| self.profile.strings.intern(profile.strings.get(id))));
            self.add(stacks[sample.stack.index()], test.or(own), sample.block_size, &sample.values);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::test_profiles::profile;
    use crate::model::values::ValueType;
    use crate::model::{About, Profile, ProfileBuilder};

    /// Every sample as text: test, stack, bytes.
    fn text(profile: &Profile) -> Vec<String> {
        let line = |sample: &crate::model::sample::Sample| {
            let mut names: Vec<&str> = Vec::new();
            for id in profile.stacks.locations(sample.stack) {
                let function = profile.locations.get(id).frames[0].function;
                names.push(profile.strings.get(profile.functions.get(function).name));
            }
            names.reverse();
            let test = sample.test.map_or("-", |id| profile.strings.get(id));
            format!("{test} {} {}", names.join(";"), sample.values[ValueType::AllocSpace])
        };
        profile.samples.iter().map(line).collect()
    }

    #[test]
    fn what_was_gathered_in_another_order_is_the_same_profile() {
        let one = profile(&[(&["a", "b"], 1), (&["a", "c"], 2), (&["a"], 4)]);
        let other = profile(&[(&["a"], 3), (&["a", "c"], 2), (&["a", "b"], 1), (&["a"], 1)]);
        assert_eq!(text(&one), ["- a 4", "- a;b 1", "- a;c 2"]);
        assert_eq!(text(&one), text(&other));
        assert!(one.strings.iter().eq(other.strings.iter()));
    }

    #[test]
    fn merged_samples_keep_apart_by_test_and_add_up_within_one() {
        let mut builder = ProfileBuilder::default();
        builder.merge(&profile(&[(&["a", "b"], 1), (&["z"], 5)]), Some("t2"));
        builder.merge(&profile(&[(&["a", "b"], 2)]), Some("t1"));
        builder.merge(&profile(&[(&["a", "b"], 3)]), Some("t1"));
        let merged = builder.finish(About::default());
        assert_eq!(text(&merged), ["t1 a;b 5", "t2 a;b 1", "t2 z 5"]);
        let mut again = ProfileBuilder::default();
        again.merge(&merged, None);
        assert_eq!(text(&again.finish(About::default())), text(&merged));
    }
}
