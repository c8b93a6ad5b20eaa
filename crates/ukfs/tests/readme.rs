//! The examples of the project's README are what is here, and do what they say.

use std::{error::Error, path::Path};

const README: &str = include_str!("../../../README.md");
const THIS: &str = include_str!("readme.rs");

fn with_ukfs() -> Result<(), Box<dyn Error>> {
    let fs = ukfs::Fs::open("disk.img")?; // its type is found by its content; read-only unless told otherwise
    let text = fs.read_to_string("/etc/hostname")?;
    for entry in fs.read_dir("/etc")? {
        let entry = entry?;
        println!("{:?} {}", entry.file_name(), entry.metadata()?.len());
    }
    assert_eq!(text, "hello\n");
    Ok(())
}

fn with_a_kernel() -> Result<(), Box<dyn Error>> {
    use rumpkern::{Kernel, OpenFlags};
    use rumpuser_posix::{Access, Host, HostFile};
    use rumpvfs::{Calls as _, KernelVfs as _, calls::MountArgs};
    use std::sync::Arc;

    let kernel = Kernel::builder(Host::new())
        .component(rumpfs_ext2fs::component())
        .boot()?;
    let image = HostFile::open("disk.img", Access::ReadOnly)?;
    let proc = kernel.init_proc();
    kernel.etfs_register("/dev/disk", Arc::new(image))?;
    proc.mount("ext2fs", "/", MountArgs::device("/dev/disk").read_only())?;
    let fd = proc.open("/etc/hostname", OpenFlags::RDONLY, 0)?;
    let mut text = [0; 6];
    assert_eq!(proc.read(fd, &mut text)?, text.len());
    assert_eq!(&text, b"hello\n");
    Ok(())
}

/// A text without blanks and line breaks.
fn words(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn the_examples_are_these_and_work() {
    let blocks = README.split("```rust\n").skip(1);
    let examples: Vec<_> = blocks.filter_map(|part| part.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        assert!(words(THIS).contains(&words(example)), "{example}");
    }
    let folder = std::env::temp_dir().join(format!("ukfs-readme-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/hello.img");
    std::fs::copy(image, folder.join("disk.img")).unwrap();
    // There is one test in this program.
    std::env::set_current_dir(&folder).unwrap();
    let (short, long) = (with_ukfs(), with_a_kernel());
    std::fs::remove_dir_all(&folder).unwrap();
    short.unwrap();
    long.unwrap();
}
