//! The program without arguments.

use std::process::Command;

#[test]
fn a_page_is_fetched() {
    let out = Command::new(env!("CARGO_BIN_EXE_nettest"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && text.contains("Hello from a stack of my own."),
        "{out:?}"
    );
}
