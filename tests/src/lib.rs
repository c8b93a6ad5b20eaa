//! Tests that cross crates: helpers here, cases in `tests/`.
//!
//! | module | what |
//! |---|---|
//! | [`conformance`] | one body of cases for every file system: volumes, and what a case works with |
//! | [`corpus`] | images with a manifest, and how they are compared with it |
//! | [`crash`] | power cuts at every point of a workload, what must be left, and the native checker |
//! | [`faults`] | one fault at every place that a workload reaches, and what must hold then |
//! | [`fixtures`] | the test images by name |
//! | [`hostile`] | broken images, and all that may be done to them |
//! | [`memory`] | an allocator that counts |
//! | [`sparse_iso`] | sparse files of Rock Ridge, which no mastering program writes |
//! | [`tools`] | native programs and temporary folders |
//! | [`mounted`] | a kernel with an image mounted |
//! | [`model`] | random operations on a mount and on a model of it, compared step by step |
//! | [`mtree`] | manifests, compared with a mount |
//! | [`troubled`] | a host and a disk that panic when told to |
//! | [`ufs`] | UFS images taken apart by offsets, to break them |
//! | [`tree`] | a whole tree as a value, read from a mount or from the host |

pub mod conformance;
pub mod corpus;
pub mod crash;
pub mod faults;
pub mod fixtures;
pub mod hostile;
pub mod memory;
pub mod model;
pub mod mounted;
pub mod mtree;
pub mod sparse_iso;
pub mod tools;
pub mod tree;
pub mod troubled;
pub mod ufs;
