//! A program whose allocator counts nothing.

use std::panic::catch_unwind;

#[test]
fn an_assertion_fails_where_nothing_counts_and_says_what_to_add() {
    let panic = catch_unwind(|| memprof::assert_no_alloc!({ 1 + 1 })).expect_err("it fails");
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).expect("it has a text");
    assert!(text.contains("nothing counts them") && text.contains("memprof::install!();"), "{text}");
}
