//! Files that hold a medium in another form than its bytes one after another: told by how they begin, not read.

use rumpuser::BlockDevice;

/// Form, how to get at the medium, where the mark is, and the mark.
const MARKS: [(&str, &str, u64, &[u8]); 9] = [
    ("qcow2", QEMU_IMG, 0, b"QFI\xfb"),
    ("VMDK", QEMU_IMG, 0, b"KDMV"),
    ("VHD", QEMU_IMG, 0, b"conectix"),
    ("VHDX", QEMU_IMG, 0, b"vhdxfile"),
    ("VDI", QEMU_IMG, 0x40, b"\x7f\x10\xda\xbe"),
    ("gzip", "gzip -d", 0, b"\x1f\x8b\x08"),
    ("xz", "xz -d", 0, b"\xfd7zXZ\0"),
    ("zstd", "zstd -d", 0, b"\x28\xb5\x2f\xfd"),
    ("bzip2", "bzip2 -d", 0, b"BZh"),
];
const QEMU_IMG: &str = "qemu-img convert -O raw";

/// What form it is, and the command that makes it one that can be read.
pub(crate) fn form(device: &dyn BlockDevice) -> Option<(&'static str, &'static str)> {
    let found = MARKS.iter().find(|(_, _, at, mark)| {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..mark.len()];
        device.read_at(*at, bytes).is_ok() && bytes == *mark
    });
    found.map(|(form, command, ..)| (*form, *command))
}
