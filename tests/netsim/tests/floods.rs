//! Floods, smaller than those of `cargo xtask netsim --floods`: service goes on, memory stays small, nothing is left.

use rump_netsim::{flood, memory::Counting};

#[global_allocator]
static MEMORY: Counting = Counting;

// One after the other: they look at the memory of the whole program.
#[test]
fn floods() {
    let syns = flood::syns(1, 50_000).unwrap();
    // With cookies: every one is answered, and some again.
    assert!(syns.served == 50 && syns.answers >= 50_000, "{syns:?}");
    let fragments = flood::fragments(1, 50_000).unwrap();
    assert_eq!(fragments.served, 50);
    let malformed = flood::malformed(1, 100_000).unwrap();
    // Some got as far as an answer.
    assert!(
        malformed.served == 10 && malformed.answers > 100,
        "{malformed:?}"
    );
    let connections = flood::connections(1, 2_000).unwrap();
    assert!(connections.memory < 2_000 * 8_192, "{connections:?}");
}
