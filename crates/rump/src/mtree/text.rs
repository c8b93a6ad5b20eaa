//! Values as a specification has them.

use super::{escape::escape, found::Found, keyword::Keyword};
use crate::mode::type_word;
use rumpkern::{FileType, types::DeviceNumber};
use rumpuser::Timespec;

/// `.` or `./path`.
pub(crate) fn path(path: &[u8], out: &mut Vec<u8>) {
    out.push(b'.');
    if !path.is_empty() {
        out.push(b'/');
        for (number, name) in path.split(|&c| c == b'/').enumerate() {
            if number > 0 {
                out.push(b'/');
            }
            escape(name, out);
        }
    }
}

/// `SECONDS.NANOSECONDS`
pub(crate) fn time(time: Timespec) -> String {
    format!("{}.{:09}", time.sec, time.nsec)
}

/// `native,MAJOR,MINOR`
pub(crate) fn device(device: DeviceNumber) -> String {
    format!("native,{},{}", device.major, device.minor)
}

/// What follows a keyword for a file; `None` if it does not apply to it.
pub(crate) fn value(keyword: Keyword, file: &Found) -> Option<Vec<u8>> {
    let stat = &file.stat;
    let text = match keyword {
        Keyword::Type => type_word(stat.file_type).to_owned(),
        Keyword::Mode => format!("{:04o}", stat.mode),
        Keyword::Uid => stat.uid.to_string(),
        Keyword::Gid => stat.gid.to_string(),
        Keyword::Nlink => stat.nlink.to_string(),
        Keyword::Size if stat.file_type != FileType::Regular => return None,
        Keyword::Size => stat.size.to_string(),
        Keyword::Time => time(stat.mtime),
        Keyword::Link => {
            let mut out = Vec::new();
            escape(file.link.as_ref()?, &mut out);
            return Some(out);
        }
        Keyword::Device => device(file.device()?),
        Keyword::Digest(algorithm) => file.digests.get(&algorithm)?.clone(),
    };
    Some(text.into_bytes())
}
