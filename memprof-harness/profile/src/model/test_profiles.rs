//! Profiles that tests make.

use super::function::{Function, Origin};
use super::location::{Frame, Location};
use super::values::{Estimated, ValueType};
use super::{About, Profile, ProfileBuilder};

/// A profile with one sample for each of `stacks`: names of functions, root first, and bytes.
pub fn profile(stacks: &[(&[&str], i64)]) -> Profile {
    let mut builder = ProfileBuilder::default();
    for (names, bytes) in stacks {
        let mut stack = None;
        for name in *names {
            let tables = builder.tables();
            let (name, file) = (tables.strings.intern(name), tables.strings.intern(""));
            let function = tables.functions.intern(Function { name, file, origin: Origin::Workspace });
            let frames = Box::new([Frame { function, line: 0, column: 0 }]);
            let location = tables.locations.intern(Location { mapping: None, address: 0, frames });
            stack = Some(builder.stack(stack, location));
        }
        let mut values = Estimated::default();
        values[ValueType::AllocSpace] = *bytes;
        builder.add(stack.expect("stacks are not empty"), None, 0, &values);
    }
    builder.finish(About::default())
}
