//! Faults on every volume that can be written, a few of each kind; `cargo xtask faults` injects all of them.

use std::process::Command;

const RUNS: &str = "48";

/// In a process of its own, whose memory is counted.
fn short(name: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_faults"))
        .args([name, "1", RUNS])
        .output()
        .expect("the program that was built with this test");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    let runs = text.split(" runs, ").next().and_then(|start| {
        let number = start.rsplit(' ').next()?;
        number.parse::<usize>().ok()
    });
    assert!(runs >= Some(40), "hardly any run: {text}");
}

macro_rules! subjects {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            short($name);
        })*
    };
}

subjects! {
    tmpfs: "tmpfs";
    ext2fs_ext2_1k: "ext2-1k";
    ext2fs_ext2_4k: "ext2-4k";
    ext2fs_ext3_1k: "ext3-1k";
    ext2fs_ext3_4k: "ext3-4k";
    ext2fs_ext4_1k: "ext4-1k";
    ext2fs_ext4_4k: "ext4-4k";
}
