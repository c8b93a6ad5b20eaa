//! Tests that cross crates; shared helpers live here, cases in `tests/`.

pub mod fixtures;
