//! The `rump` tool.
fn main() {}
