//! `mount, walk, read` on broken ISO 9660 images.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rump_fuzz::image("cd9660", input));
