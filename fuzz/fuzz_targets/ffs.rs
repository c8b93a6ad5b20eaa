//! `mount, walk, read, write` on broken UFS images, and the checker.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rump_fuzz::image("ffs", input));
