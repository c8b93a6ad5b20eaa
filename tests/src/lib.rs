//! Tests that cross crates: helpers here, cases in `tests/`.
//!
//! | module | what |
//! |---|---|
//! | [`fixtures`] | the test images by name |
//! | [`tools`] | native programs and temporary folders |
//! | [`mounted`] | a kernel with an image mounted |
//! | [`model`] | random operations on a mount and on a model of it, compared step by step |
//! | [`tree`] | a whole tree as a value, read from a mount or from the host |

pub mod fixtures;
pub mod model;
pub mod mounted;
pub mod tools;
pub mod tree;
