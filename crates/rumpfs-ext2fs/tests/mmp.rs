//! Multiple mount protection, against e2fsprogs and against itself on a simulated host.

mod journal_support;

use journal_support::{TempDir, tool};
use rumpfs_ext2fs::{Error, mmp, mmp::Protection, superblock::Superblock};
use rumpkern::{Kernel, Proc};
use rumpuser::{BlockDevice, Clock, Errno, Host};
use rumpuser_sim::{Fault, MemDisk, Operation, Sim};
use rumpvfs::{Calls as _, KernelVfs as _, calls::MountArgs};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const VARIANTS: [&str; 2] = ["mmp,metadata_csum", "mmp,^metadata_csum,uninit_bg"];
const SEQ: usize = 4;
const CLEAN: u32 = 0xFF4D_4D50;
const FSCK: u32 = 0xE24D_4D50;

/// What debugfs, without taking the volume, shows of the block.
fn dump(image: &Path) -> String {
    let arguments = ["-R", "dump_mmp", image.to_str().unwrap()];
    tool("debugfs", &arguments, &[0])
}

/// A volume in memory with its host.
struct Bench {
    sim: Arc<Sim>,
    host: Arc<dyn Host>,
    disk: Arc<MemDisk>,
    device: Arc<dyn BlockDevice>,
    sb: Superblock,
    lost: Arc<AtomicUsize>,
}

fn make(image: &Path, features: &str) {
    let image = image.to_str().unwrap();
    let _ = std::fs::remove_file(image);
    let arguments = ["-q", "-F", "-b", "1024", "-O", features, image, "8M"];
    tool("mke2fs", &arguments, &[0]);
}

impl Bench {
    fn new(features: &str) -> Self {
        let dir = TempDir::new("mmp");
        make(&dir.file("image"), features);
        Self::of(&std::fs::read(dir.file("image")).unwrap())
    }

    fn of(bytes: &[u8]) -> Self {
        let sim = Sim::new(7);
        let disk = Arc::new(MemDisk::from_bytes(bytes));
        let device: Arc<dyn BlockDevice> = disk.clone();
        Self {
            host: sim.clone(),
            sim,
            sb: Superblock::read(&*device).unwrap(),
            disk,
            device,
            lost: Arc::default(),
        }
    }

    fn begin(&self, name: &str) -> Result<Protection, Error> {
        let lost = self.lost.clone();
        let lost = Box::new(move |error: &Error| {
            assert!(
                matches!(error, Error::InUse(_) | Error::Device(..)),
                "{error}"
            );
            lost.fetch_add(1, Ordering::SeqCst);
        });
        Protection::begin(&self.sb, &self.device, &self.host, name, lost)
            .map(|protection| protection.expect("the volume has the feature"))
    }

    /// The block's 1024 bytes.
    fn block(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let at = self.sb.mmp_block.unwrap().0 * 1024;
        self.device.read_at(at, &mut bytes).unwrap();
        bytes
    }

    fn seq(&self) -> u32 {
        u32::from_le_bytes(self.block()[SEQ..SEQ + 4].try_into().unwrap())
    }

    /// Puts a number into the block, with the right checksum.
    fn set_seq(&self, seq: u32) {
        let mut bytes = self.block();
        bytes[SEQ..SEQ + 4].copy_from_slice(&seq.to_le_bytes());
        if self.sb.features.metadata_csum() {
            let crc = rumpfs_ext2fs::checksum::crc32c(self.sb.csum_seed, &bytes[..1020]);
            bytes[1020..].copy_from_slice(&crc.to_le_bytes());
        }
        let at = self.sb.mmp_block.unwrap().0 * 1024;
        self.device.write_at(at, &bytes).unwrap();
    }

    /// Seconds since the host started.
    fn seconds(&self) -> u64 {
        self.sim.monotonic().0 / 1_000_000_000
    }
}

fn refusal(result: Result<Protection, Error>) -> String {
    match result {
        Err(error @ Error::InUse(_)) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the volume was taken twice"),
    }
}

#[test]
fn a_clean_volume_is_taken_at_once_and_given_back() {
    for features in VARIANTS {
        let bench = Bench::new(features);
        assert_eq!(bench.seq(), CLEAN);
        let protection = bench.begin("first.img").unwrap();
        assert_eq!(bench.seconds(), 0);
        let first = bench.seq();
        assert!((1..=0xE24D_4D4F).contains(&first));
        bench.sim.sleep(Duration::from_secs(17));
        assert_eq!(bench.seq(), first + 3, "renewed every five seconds");
        protection.end().unwrap();
        assert_eq!(bench.seq(), CLEAN);
        bench.sim.sleep(Duration::from_secs(17));
        assert_eq!(bench.seq(), CLEAN);
        assert_eq!(bench.lost.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn e2fsprogs_reads_what_is_written() {
    for features in VARIANTS {
        let dir = TempDir::new("mmp");
        let image = dir.file("image");
        make(&image, features);
        let bench = Bench::of(&std::fs::read(&image).unwrap());
        let protection = bench
            .begin("the name of a device that is too long for it")
            .unwrap();
        std::fs::write(&image, bench.disk.to_bytes()).unwrap();
        let text = dump(&image);
        for line in [
            format!("sequence: {:08x}", bench.seq()),
            "device_name: the name of a device that is to\n".to_owned(),
            format!("node_name: {}", bench.host.host_name()),
            "check_interval: 10".to_owned(),
        ] {
            assert!(text.contains(&line), "no {line:?} in:\n{text}");
        }
        protection.end().unwrap();
        std::fs::write(&image, bench.disk.to_bytes()).unwrap();
        tool("e2fsck", &["-fn", image.to_str().unwrap()], &[0]);
        assert!(dump(&image).contains("sequence: ff4d4d50"));
    }
}

#[test]
fn a_mounted_volume_is_refused_with_its_owner() {
    let bench = Bench::new(VARIANTS[0]);
    let protection = bench.begin("first.img").unwrap();
    let text = refusal(bench.begin("second.img"));
    assert!(
        text.contains("mounted by host") && text.contains("\"first.img\""),
        "{text}"
    );
    // Two intervals of ten seconds, as the block asks, and one more.
    assert_eq!(bench.seconds(), 21);
    protection.end().unwrap();
    assert_eq!(bench.lost.load(Ordering::SeqCst), 0);
    // A reader does not mind.
    let protection = bench.begin("first.img").unwrap();
    mmp::check_read_only(&bench.sb, &bench.device).unwrap();
    drop(protection);
}

#[test]
fn a_volume_whose_owner_is_gone_is_taken_after_the_wait() {
    let bench = Bench::new(VARIANTS[0]);
    drop(bench.begin("first.img").unwrap());
    let left = bench.seq();
    assert_ne!(left, CLEAN);
    let protection = bench.begin("second.img").unwrap();
    // Once to see the old owner gone, once to see that nobody else took it meanwhile.
    assert_eq!(bench.seconds(), 42);
    assert_ne!(bench.seq(), left);
    protection.end().unwrap();
    assert_eq!(bench.seq(), CLEAN);
}

#[test]
fn a_check_keeps_readers_and_writers_away() {
    let bench = Bench::new(VARIANTS[0]);
    bench.set_seq(FSCK);
    assert!(refusal(bench.begin("image")).contains("being checked"));
    assert!(matches!(
        mmp::check_read_only(&bench.sb, &bench.device),
        Err(Error::InUse(_))
    ));
    assert_eq!(bench.seconds(), 0);
    assert_eq!(bench.seq(), FSCK);
}

#[test]
fn who_loses_the_volume_hears_it_and_writes_no_more() {
    let bench = Bench::new(VARIANTS[1]);
    let protection = bench.begin("first.img").unwrap();
    bench.set_seq(12_345);
    bench.sim.sleep(Duration::from_secs(30));
    assert_eq!(bench.lost.load(Ordering::SeqCst), 1);
    assert!(matches!(protection.end(), Err(Error::InUse(_))));
    assert_eq!(bench.seq(), 12_345);
}

#[test]
fn a_device_that_fails_is_told_once() {
    let bench = Bench::new(VARIANTS[1]);
    let protection = bench.begin("first.img").unwrap();
    bench.disk.inject(Fault::on(Operation::Write));
    bench.sim.sleep(Duration::from_secs(30));
    assert_eq!(bench.lost.load(Ordering::SeqCst), 1);
    assert!(matches!(
        protection.end(),
        Err(Error::InUse(_) | Error::Device(..))
    ));
}

#[test]
fn damage_is_told_to_writers() {
    let bench = Bench::new(VARIANTS[0]);
    let at = bench.sb.mmp_block.unwrap().0 * 1024;
    for byte in [0_u64, 4, 8, 0x10, 0x50, 0x70, 0x3FB, 0x3FC] {
        let mut old = [0];
        bench.device.read_at(at + byte, &mut old).unwrap();
        bench.device.write_at(at + byte, &[old[0] ^ 0x10]).unwrap();
        let error = bench.begin("image").err().expect("damage");
        match byte {
            0 => assert!(matches!(
                error,
                Error::Value {
                    field: "mmp_magic",
                    ..
                }
            )),
            _ => assert!(matches!(error, Error::Checksum { .. }), "{error:?}"),
        }
        mmp::check_read_only(&bench.sb, &bench.device).unwrap();
        bench.device.write_at(at + byte, &old).unwrap();
    }
    bench.begin("image").unwrap().end().unwrap();
}

#[test]
fn a_volume_without_the_feature_has_no_protection() {
    let bench = Bench::new("^mmp");
    let lost = Box::new(|_: &Error| panic!("nothing to lose"));
    let none = Protection::begin(&bench.sb, &bench.device, &bench.host, "image", lost);
    assert!(none.unwrap().is_none());
}

impl Bench {
    /// A kernel on the host that knows the device.
    fn kernel(&self) -> (Kernel, Proc) {
        let kernel = Kernel::builder(self.sim.clone())
            .component(rumpfs_ext2fs::component())
            .boot()
            .unwrap();
        let proc = kernel.init_proc();
        kernel
            .etfs_register("/dev/image", self.device.clone())
            .unwrap();
        (kernel, proc)
    }
}

#[test]
fn two_kernels_take_turns() {
    let bench = Bench::new(VARIANTS[0]);
    let (first, one) = bench.kernel();
    let (second, two) = bench.kernel();
    let args = || MountArgs::device("/dev/image");
    one.mount("ext2fs", "/", args()).unwrap();
    assert_ne!(bench.seq(), CLEAN);
    assert_eq!(two.mount("ext2fs", "/", args()), Err(Errno::EBUSY));
    let messages = format!("{:?}", second.log().since(0));
    assert!(messages.contains("in use: mounted by host"), "{messages}");
    two.mount("ext2fs", "/", args().read_only()).unwrap();
    two.unmount("/", false).unwrap();
    one.unmount("/", false).unwrap();
    assert_eq!(bench.seq(), CLEAN);
    let before = bench.seconds();
    two.mount("ext2fs", "/", args()).unwrap();
    assert_eq!(bench.seconds(), before, "a clean volume is mounted at once");
    two.unmount("/", false).unwrap();
    first.shutdown().unwrap();
    second.shutdown().unwrap();
}

#[test]
fn a_mount_that_fails_gives_the_volume_back() {
    let bench = Bench::new(VARIANTS[1]);
    // The root is no directory.
    let dir = TempDir::new("mmp");
    let image = dir.file("image");
    std::fs::write(&image, bench.disk.to_bytes()).unwrap();
    // debugfs takes the volume for itself and gives it back.
    journal_support::debugfs(&image, "sif / mode 0100644\n");
    let bench = Bench::of(&std::fs::read(&image).unwrap());
    assert_eq!(bench.seq(), CLEAN);
    let (kernel, proc) = bench.kernel();
    let mounted = proc.mount("ext2fs", "/", MountArgs::device("/dev/image"));
    assert_eq!(mounted, Err(Errno::EIO));
    assert_eq!(bench.seq(), CLEAN);
    kernel.shutdown().unwrap();
}

/// Usage in quota files would have to follow each change: such volumes are not written. Projects without them are.
#[test]
fn volumes_with_quotas_are_not_written() {
    for features in ["quota", "quota,project"] {
        let bench = Bench::new(&format!("{features},^mmp"));
        let before = bench.disk.to_bytes();
        let (kernel, proc) = bench.kernel();
        let args = || MountArgs::device("/dev/image");
        assert_eq!(proc.mount("ext2fs", "/", args()), Err(Errno::EROFS));
        let messages = format!("{:?}", kernel.log().since(0));
        let text = "read-only: features that are not written: quota\"";
        assert!(messages.contains(text), "{messages}");
        proc.mount("ext2fs", "/", args().read_only()).unwrap();
        proc.unmount("/", false).unwrap();
        kernel.shutdown().unwrap();
        assert!(bench.disk.to_bytes() == before);
    }
    let bench = Bench::new("project,^mmp");
    let (kernel, proc) = bench.kernel();
    let args = MountArgs::device("/dev/image");
    assert_eq!(proc.mount("ext2fs", "/", args), Ok(()));
    proc.unmount("/", false).unwrap();
    kernel.shutdown().unwrap();
}

/// The host's kernel holds the volume.
#[test]
#[ignore = "needs root for a loop mount, and half a minute"]
fn a_volume_that_the_kernel_mounts_is_refused() {
    let dir = TempDir::new("mmp");
    let (image, point) = (dir.file("image"), dir.file("point"));
    make(&image, VARIANTS[0]);
    std::fs::create_dir(&point).unwrap();
    let (image_name, point_name) = (image.to_str().unwrap(), point.to_str().unwrap());
    tool("mount", &["-o", "loop", image_name, point_name], &[0]);
    let device: Arc<dyn BlockDevice> = journal_support::FileDevice::open(&image, false);
    let host: Arc<dyn Host> = rumpuser_posix::Host::new();
    let sb = Superblock::read(&*device).unwrap();
    let lost = || Box::new(|_: &Error| panic!("never taken"));
    let result = Protection::begin(&sb, &device, &host, "image", lost());
    unmount(point_name);
    match result {
        Err(Error::InUse(text)) => assert!(text.starts_with("mounted by host"), "{text}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the volume was taken twice"),
    }
    // Unmounted: the kernel has marked it clean, and then so do we.
    let taken = Protection::begin(&sb, &device, &host, "image", lost()).unwrap();
    taken.unwrap().end().unwrap();
    tool("mount", &["-o", "loop", image_name, point_name], &[0]);
    unmount(point_name);
}

/// Unmounts, patiently: a program that another test has just forked holds our open files until it is the other program.
fn unmount(point: &str) {
    let script = r#"for i in $(seq 200); do umount "$1" && exit; sleep 0.05; done; exit 1"#;
    tool("bash", &["-c", script, "bash", point], &[0]);
}
