//! `mount, walk, read, write` on broken ext2, ext3 and ext4 images.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rump_fuzz::image("ext2fs", input));
