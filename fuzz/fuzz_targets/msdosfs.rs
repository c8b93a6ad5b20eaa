//! `mount, walk, read, write` on broken FAT images.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rump_fuzz::image("msdosfs", input));
