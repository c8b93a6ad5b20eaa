//! The options of `-o`, as mount(8) writes them: the host's, fstab's, and the driver's.

use p2k::{Options, Shown, mount::MountPoint};
use rumpvfs::calls::MountFlags;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What is said to who asks for a change of a mount.
const REMOUNT: &str = "remount: a mount stays as it was made: unmount it and mount it anew (mount -i -o remount,ro DIR has the host refuse to write)";

/// What `-o` says.
#[derive(Clone, Debug)]
pub(crate) struct HostOptions {
    pub(crate) read_only: bool,
    /// `rw` was asked for by name.
    pub(crate) read_write: bool,
    pub(crate) flags: MountFlags,
    /// Directory and source are not known here.
    pub(crate) point: MountPoint,
    pub(crate) source: Option<String>,
    pub(crate) serve: Options,
    /// Whether idle processors stay awake while requests flow; `None`: if that can be had.
    pub(crate) wakeful: Option<bool>,
    pub(crate) fs_type: Option<String>,
    /// What the driver is to be told; `uid`, `gid` and `umask` are [sorted out](Self::sort) when it is known.
    pub(crate) driver: Vec<(String, Option<String>)>,
}

impl HostOptions {
    /// Reads lists of options with commas between.
    ///
    /// # Errors
    /// What is wrong with one.
    pub(crate) fn parse(lists: &[String]) -> Result<Self, String> {
        let mut options = Self {
            read_only: false,
            read_write: false,
            flags: MountFlags::empty(),
            point: MountPoint {
                dir: PathBuf::new(),
                source: OsString::new(),
                allow_other: false,
                suid: false,
                dev: false,
                noexec: false,
                noatime: false,
                sync: false,
                auto_unmount: false,
            },
            source: None,
            serve: Options::default(),
            wakeful: None,
            fs_type: None,
            driver: Vec::new(),
        };
        for option in lists.iter().flat_map(|list| list.split(',')) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            match value {
                None if name == "remount" => return Err(REMOUNT.into()),
                None => options.word(name),
                Some(value) => options.value(name, value)?,
            }
        }
        Ok(options)
    }

    /// Takes those of `uid`, `gid` and `umask` from the driver's options that the driver of this type does not follow by itself.
    ///
    /// # Errors
    /// What is wrong with one.
    pub(crate) fn sort(
        fs_type: &str,
        driver: &mut Vec<(String, Option<String>)>,
    ) -> Result<Shown, String> {
        // Formats without owners and permissions, or whose media need not have them.
        let own: &[&str] = match fs_type {
            "msdosfs" => &["uid", "gid", "umask"],
            "cd9660" | "tmpfs" => &["uid", "gid"],
            _ => &[],
        };
        let mut shown = Shown::default();
        let mut wrong = None;
        driver.retain(|(name, value)| {
            let (field, radix, most) = match name.as_str() {
                name if own.contains(&name) => return true,
                "uid" => (&mut shown.uid, 10, u32::MAX - 1),
                "gid" => (&mut shown.gid, 10, u32::MAX - 1),
                "umask" => (&mut shown.umask, 8, 0o777),
                _ => return true,
            };
            let number = u32::from_str_radix(value.as_deref().unwrap_or(""), radix);
            *field = number.ok().filter(|number| *number <= most);
            if field.is_none() {
                wrong = Some(format!("mount option {name}: wrong value"));
            }
            false
        });
        wrong.map_or(Ok(shown), Err)
    }

    fn word(&mut self, name: &str) {
        let Self { point, flags, .. } = self;
        match name {
            // Where the host always does so, and what only fstab and mount(8) look at.
            ""
            | "default_permissions"
            | "defaults"
            | "rump"
            | "auto"
            | "noauto"
            | "user"
            | "nouser"
            | "users"
            | "owner"
            | "group"
            | "nofail"
            | "_netdev"
            | "relatime"
            | "async"
            | "loud"
            | "silent"
            | "nodiratime"
            | "nomand"
            | "noiversion" => {}
            "ro" | "rdonly" => (self.read_only, self.read_write) = (true, false),
            "rw" => (self.read_only, self.read_write) = (false, true),
            "allow_other" => point.allow_other = true,
            "auto_unmount" => point.auto_unmount = true,
            "suid" => point.suid = true,
            "nosuid" => point.suid = false,
            "dev" => point.dev = true,
            "nodev" => point.dev = false,
            "exec" => point.noexec = false,
            "noexec" => point.noexec = true,
            "atime" => {
                point.noatime = false;
                flags.remove(MountFlags::NOATIME);
            }
            "noatime" => {
                point.noatime = true;
                flags.insert(MountFlags::NOATIME);
            }
            "strictatime" => flags.insert(MountFlags::STRICTATIME),
            "sync" => {
                point.sync = true;
                flags.insert(MountFlags::SYNCHRONOUS);
                self.serve.writeback_cache = false;
            }
            "dirsync" => flags.insert(MountFlags::SYNCHRONOUS),
            "writeback_cache" => self.serve.writeback_cache = true,
            "nowriteback_cache" => self.serve.writeback_cache = false,
            "xattr" => self.serve.xattrs = true,
            "noxattr" => self.serve.xattrs = false,
            "wakeful" => self.wakeful = Some(true),
            "nowakeful" => self.wakeful = Some(false),
            _ if name.starts_with("x-") || name.starts_with("X-") => {}
            _ => self.driver.push((name.into(), None)),
        }
    }

    fn value(&mut self, name: &str, value: &str) -> Result<(), String> {
        let seconds = || {
            let seconds = value.parse().ok().filter(|s: &f64| s.is_finite());
            let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            time.ok_or_else(|| format!("{name}={value}: a number of seconds is needed"))
        };
        match name {
            "fsname" => self.source = Some(value.into()),
            "fstype" => self.fs_type = Some(value.into()),
            "attr_timeout" => self.serve.attr_timeout = seconds()?,
            "entry_timeout" => self.serve.entry_timeout = seconds()?,
            "negative_timeout" => self.serve.negative_timeout = seconds()?,
            "comment" => {}
            _ if name.starts_with("x-") || name.starts_with("X-") => {}
            _ => self.driver.push((name.into(), Some(value.into()))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HostOptions {
        HostOptions::parse(&[text.into()]).unwrap()
    }

    #[test]
    fn options_go_to_whom_they_belong() {
        let options = parse(
            "rw,allow_other,uid=10,noatime,norecovery,x-systemd.automount,ro,attr_timeout=1.5",
        );
        assert!(options.read_only && !options.read_write && options.point.allow_other);
        assert_eq!(options.flags, MountFlags::NOATIME);
        assert_eq!(options.serve.attr_timeout, Duration::from_millis(1500));
        let driver = [
            ("uid".into(), Some("10".into())),
            ("norecovery".into(), None),
        ];
        assert_eq!(options.driver, driver);
    }

    /// mount(8) leaves some of them to its helpers.
    #[test]
    fn what_only_fstab_needs_goes_nowhere() {
        let text = "defaults,noauto,nofail,_netdev,user,users,owner,group,comment=any,\
            x-systemd.requires=network.target,x-gvfs-hide,X-mount.mkdir=755";
        let options = parse(text);
        assert_eq!(options.driver, []);
        assert!(!options.read_only && !options.point.suid && !options.point.dev);
    }

    #[test]
    fn owners_are_the_drivers_or_shown() {
        let sorted = |fs_type: &str, text: &str| {
            let mut driver = parse(text).driver;
            let shown = HostOptions::sort(fs_type, &mut driver);
            (driver.len(), shown)
        };
        let none = Shown::default();
        assert_eq!(sorted("msdosfs", "uid=7,umask=77"), (2, Ok(none)));
        let umask = Some(0o77);
        assert_eq!(
            sorted("cd9660", "uid=7,umask=77"),
            (1, Ok(Shown { umask, ..none }))
        );
        let (uid, gid) = (Some(7), Some(8));
        assert_eq!(
            sorted("ext2fs", "uid=7,gid=8,umask=077,norecovery"),
            (1, Ok(Shown { uid, gid, umask }))
        );
        for text in [
            "uid",
            "uid=x",
            "gid=-1",
            "gid=4294967295",
            "umask=8",
            "umask=1777",
        ] {
            assert!(sorted("ffs", text).1.is_err(), "{text}");
        }
    }

    #[test]
    fn set_id_bits_and_devices_are_off_unless_asked_for() {
        let point = parse("defaults").point;
        assert!(!point.suid && !point.dev && !point.allow_other);
        assert!(parse("suid,dev").point.suid);
        assert_eq!(parse("suid").wakeful, None);
        assert_eq!(parse("wakeful,nowakeful").wakeful, Some(false));
        assert!(parse("noxattr,xattr").serve.xattrs && !parse("noxattr").serve.xattrs);
    }

    #[test]
    fn wrong_numbers_are_told() {
        for text in ["attr_timeout=x", "entry_timeout=-1", "negative_timeout=inf"] {
            assert!(HostOptions::parse(&[text.into()]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_is_not_changed() {
        let told = HostOptions::parse(&["remount,ro".into()]).unwrap_err();
        assert!(told.starts_with("remount: "), "{told}");
    }
}
