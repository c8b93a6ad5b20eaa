//! Captures: whatever a file says, its frames lie in it, and reading it comes to an end.
#![no_main]

use rumpnet::pcap::Reader;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(reader) = Reader::new(input) else {
        return;
    };
    let range = input.as_ptr_range();
    let mut count = 0;
    for record in reader {
        count += 1;
        assert!(count <= input.len());
        if let Ok(record) = record {
            let part = record.bytes.as_ptr_range();
            assert!(range.start <= part.start && part.end <= range.end);
        }
    }
});
