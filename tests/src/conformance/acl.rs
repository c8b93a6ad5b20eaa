//! Values of the POSIX ACL attributes.

/// The value of `system.posix_acl_access` or `_default` with these entries, written as setfacl(1) writes them:
/// `"u::rw-,u:100:r--,g::r--,m::r--,o::---"`, in the order of their tags.
///
/// # Panics
/// When the text is not of that form.
#[must_use]
pub fn acl(text: &str) -> Vec<u8> {
    let mut value = Vec::from(2u32.to_le_bytes());
    for entry in text.split(',') {
        let mut parts = entry.split(':');
        let mut part = || parts.next().expect("tag:id:permissions");
        let (tag, id, permissions) = (part(), part(), part());
        let tag: u16 = match (tag, id.is_empty()) {
            ("u", true) => 0x01,
            ("u", false) => 0x02,
            ("g", true) => 0x04,
            ("g", false) => 0x08,
            ("m", true) => 0x10,
            ("o", true) => 0x20,
            _ => panic!("{entry}: no such tag"),
        };
        let bits = permissions.bytes().map(|p| u16::from(p != b'-'));
        let bits = bits.fold(0, |bits, bit| bits << 1 | bit);
        let id = if id.is_empty() {
            u32::MAX
        } else {
            id.parse().expect("a number")
        };
        value.extend(tag.to_le_bytes());
        value.extend(bits.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}
