//! `rump cp`, `rump get`, `rump put`.

use crate::{
    address::{self, Address, Operand},
    copy::{
        Job, Keep, PutOptions, Sink,
        ahead::read_ahead,
        host_sink::HostSink,
        host_source,
        image_sink::ImageSink,
        image_source::{self, From, Links},
        split_last,
        stream::Stream,
    },
    hostfs,
    quote::{shown, shown_os},
    report::{Failure, Outcome},
    session::{Image, Session},
    signals::Interruptible,
    streams,
};
use clap::Args;
use rumpkern::FileType;
use rumpvfs::{
    Calls as _,
    calls::{At, Follow},
};
use std::{
    ffi::OsString,
    fs::Metadata,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    rc::Rc,
    thread::Scope,
};

/// Copy between images and the host, in any direction
#[derive(Args, Debug)]
pub(crate) struct Cp {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    mount: super::Mount,
    /// Sources, and where to copy them: each IMAGE[@PART]:/path or a path of the host; - is standard input or output
    #[arg(required = true, num_args = 2.., value_name = "SOURCE... DEST")]
    operands: Vec<OsString>,
}

/// Copy files of images to the host
#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    mount: super::Mount,
    /// Sources in images, and where on the host to copy them (a single source: the current directory); - is standard output
    #[arg(required = true, value_name = "IMAGE[@PART]:/path... DEST")]
    operands: Vec<OsString>,
}

/// Copy files of the host into an image
#[derive(Args, Debug)]
pub(crate) struct Put {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    mount: super::Mount,
    /// Sources on the host, and where in an image to copy them; - is standard input
    #[arg(required = true, num_args = 2.., value_name = "SOURCE... IMAGE[@PART]:/path")]
    operands: Vec<OsString>,
}

/// The options of cp.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of cp")]
struct How {
    /// Everything as it is: -d -r --preserve all
    #[arg(short = 'a', long)]
    archive: bool,
    /// Directories with what is in them
    #[arg(short = 'r', short_alias = 'R', long)]
    recursive: bool,
    /// Keep mode, owner and times
    #[arg(short = 'p')]
    keep: bool,
    /// Keep these: mode, ownership, timestamps, links, xattr, all
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    preserve: Vec<Attribute>,
    /// Symbolic links as links, and hard links kept
    #[arg(short = 'd')]
    links: bool,
    /// Symbolic links as links (the default with -r)
    #[arg(short = 'P', long, overrides_with_all = ["dereference", "follow_operands"])]
    no_dereference: bool,
    /// What symbolic links point to
    #[arg(short = 'L', long, overrides_with = "follow_operands")]
    dereference: bool,
    /// What symbolic links among the operands point to
    #[arg(short = 'H')]
    follow_operands: bool,
    /// Leave existing files alone
    #[arg(short = 'n', long)]
    no_clobber: bool,
    /// Replace existing files (the default; for habit's sake)
    #[arg(short = 'f', long)]
    force: bool,
    /// DEST is the new name, even if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Name everything on standard error as it is copied
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Everything belongs to these numbers
    #[arg(long, value_name = "UID:GID", value_parser = super::parse_owner)]
    owner: Option<(u32, u32)>,
    /// Fail if an owner or an attribute cannot be kept
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Attribute {
    Mode,
    Ownership,
    Timestamps,
    Links,
    Xattr,
    All,
}

impl How {
    fn keeps(&self, what: Attribute) -> bool {
        use Attribute::{All, Links, Mode, Ownership, Timestamps};
        self.archive
            || self.preserve.contains(&what)
            || self.preserve.contains(&All)
            || self.keep && matches!(what, Mode | Ownership | Timestamps)
            || self.links && what == Links
    }

    fn options(&self) -> PutOptions {
        PutOptions {
            keep: Keep {
                mode: self.keeps(Attribute::Mode),
                owner: self.keeps(Attribute::Ownership),
                times: self.keeps(Attribute::Timestamps),
                links: self.keeps(Attribute::Links),
                xattrs: self.keeps(Attribute::Xattr),
                acls: self.keeps(Attribute::Mode),
            },
            owner: self.owner,
            umask: hostfs::umask(),
            no_clobber: self.no_clobber,
            verbose: self.verbose,
        }
    }

    fn from(&self) -> From {
        let recursive = self.recursive || self.archive;
        let as_links = self.no_dereference || self.links || self.archive;
        let dereference = self.dereference && !self.no_dereference;
        From {
            recursive,
            follow_all: dereference,
            follow_start: dereference || self.follow_operands || !recursive && !as_links,
            sorted: false,
        }
    }
}

macro_rules! mounts {
    ($($name:ident),*) => {
        $(impl $name {
            /// How to mount.
            pub(crate) fn mount(&self) -> crate::session::MountOptions {
                self.mount.options()
            }
        })*
    };
}
mounts!(Cp, Get, Put);

impl Cp {
    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let parse = |operand: &OsString| session.operand(operand);
        let (dest, sources) = split_operands(&self.operands)?;
        let sources = sources.iter().map(parse).collect::<Outcome<Vec<_>>>()?;
        run(session, &self.how, &sources, &parse(dest)?)
    }
}

impl Get {
    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let here = OsString::from(".");
        let (dest, sources) = match &self.operands[..] {
            [source] => (&here, std::slice::from_ref(source)),
            operands => split_operands(operands)?,
        };
        let image = |operand: &OsString| session.address(operand).map(Operand::Image);
        let sources = sources.iter().map(image).collect::<Outcome<Vec<_>>>()?;
        run(session, &self.how, &sources, &session.host(dest))
    }
}

impl Put {
    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let (dest, sources) = split_operands(&self.operands)?;
        let sources: Vec<_> = sources.iter().map(|s| session.host(s)).collect();
        let dest = Operand::Image(session.address(dest)?);
        run(session, &self.how, &sources, &dest)
    }
}

fn split_operands(operands: &[OsString]) -> Outcome<(&OsString, &[OsString])> {
    match operands {
        [sources @ .., dest] if !sources.is_empty() => Ok((dest, sources)),
        _ => Err(Failure::Usage(
            "where to? The last operand is missing".into(),
        )),
    }
}

impl Session {
    /// Reads an operand that may be of an image or of the host.
    ///
    /// # Errors
    /// Wrong usage.
    fn operand(&self, operand: &OsString) -> Outcome<Operand> {
        if self.in_shell() {
            return self.address(operand).map(Operand::Image);
        }
        address::parse(operand).map_err(Failure::Usage)
    }

    /// Reads an operand that is of the host, whatever characters are in it.
    fn host(&self, operand: &OsString) -> Operand {
        if operand.as_bytes() == b"-" {
            Operand::Stream
        } else {
            Operand::Host(operand.into())
        }
    }
}

/// A directory that copies go to, and under which name.
struct Target<S> {
    sink: S,
    /// `None`: each under its own name.
    name: Option<Vec<u8>>,
}

fn run(session: &Session, how: &How, sources: &[Operand], dest: &Operand) -> Outcome<()> {
    let job = Job::new(&session.report, how.options(), how.strict);
    if let Operand::Image(address) = dest {
        session.will_write(address)?;
    }
    // Every source is looked for before anything is touched in the target.
    let mut ready = Vec::new();
    for source in sources {
        let found = match source {
            Operand::Image(address) => session
                .open(address)
                .map(|image| Ready::Image(image, address)),
            Operand::Host(path) => match path.symlink_metadata() {
                // As with cp: a pipe that is named gives what comes out of it, a socket an error.
                Ok(data) if is_read_through(path, &data, how.from()) => Ok(Ready::Pipe(path)),
                Ok(_) => Ok(Ready::Host(path)),
                Err(error) => Err(Failure::host(path, &error)),
            },
            Operand::Stream => Ok(Ready::Stream),
        };
        ready.extend(session.report.step(found)?);
    }
    if ready.is_empty() {
        return Ok(());
    }
    let many = sources.len() > 1;
    let directories = ready.iter().all(|source| source.is_directory(how.from()));
    match dest {
        Operand::Stream => {
            let mut out = Stream::stdout()?;
            ready.iter().try_for_each(|source| {
                let written = to_stream(source, &mut out);
                session.report.step(written).map(drop)
            })
        }
        Operand::Host(path) if hostfs::is_stream(path) => {
            let file = std::fs::OpenOptions::new().write(true).open(path);
            let file = file.map_err(|error| Failure::host(path, &error))?;
            let mut out = Stream::new(file);
            ready.iter().try_for_each(|source| {
                let written = to_stream(source, &mut out);
                let written = match out.take_error() {
                    Some(errno) => Err(Failure::host(path, &errno.into())),
                    None => written,
                };
                session.report.step(written).map(drop)
            })
        }
        Operand::Host(path) => std::thread::scope(|scope| {
            let target = host_target(path, many, directories, how, &job, scope)?;
            copy_all(how, &ready, target, false, &job)
        }),
        Operand::Image(address) => {
            let image = session.open(address)?;
            let target = image_target(&image, address, many, directories, how, &job)?;
            copy_all(how, &ready, target, true, &job)
        }
    }
}

/// Whether a source of the host is no regular file, nor copied as what it is, but opened for what comes out of it.
fn is_read_through(path: &Path, data: &Metadata, from: From) -> bool {
    let is_followed = from.follow_start || !data.is_symlink();
    !from.recursive && is_followed && (hostfs::is_stream(path) || hostfs::is_socket(path))
}

/// A source that is there.
enum Ready<'a> {
    Image(Rc<Image>, &'a Address),
    Host(&'a Path),
    /// A FIFO or a device of the host, which is read.
    Pipe(&'a Path),
    Stream,
}

impl Ready<'_> {
    /// Whether its copy is a directory: only that may be given a new name with a slash behind it.
    fn is_directory(&self, from: From) -> bool {
        let follow = if from.follow_start {
            Follow::Yes
        } else {
            Follow::No
        };
        from.recursive
            && match self {
                Ready::Image(image, address) => image
                    .proc
                    .fstatat(At::Cwd, &address.path, follow)
                    .is_ok_and(|stat| stat.file_type == FileType::Directory),
                Ready::Host(path) if from.follow_start => path.is_dir(),
                Ready::Host(path) => path.symlink_metadata().is_ok_and(|data| data.is_dir()),
                Ready::Pipe(_) | Ready::Stream => false,
            }
    }
}

fn copy_all<S: Sink>(
    how: &How,
    sources: &[Ready<'_>],
    mut target: Target<S>,
    to_image: bool,
    job: &Job<'_>,
) -> Outcome<()> {
    let from = how.from();
    let mut links = Links::default();
    for source in sources {
        let to = |name: Vec<u8>| target.name.clone().unwrap_or(name);
        let sink = &mut target.sink;
        let copied = match source {
            Ready::Image(image, address) => {
                let to = to(base_name(&address.path));
                image_source::copy(image, &address.path, sink, &to, from, &mut links, job)
            }
            Ready::Host(path) => {
                let to = to(host_source::base_name(path));
                if to_image && from.recursive {
                    let links = &mut links;
                    let copy = |queue: &mut dyn Sink| {
                        host_source::copy(path, queue, &to, from, links, job)
                    };
                    read_ahead(sink, job, copy)
                } else {
                    host_source::copy(path, sink, &to, from, &mut links, job)
                }
            }
            Ready::Pipe(path) => {
                let to = to(host_source::base_name(path));
                let opened = hostfs::open(path).map(Interruptible);
                opened.and_then(|mut pipe| spool(&mut pipe, path, sink, &to, job))
            }
            Ready::Stream => match &target.name {
                Some(name) => {
                    let path = Path::new("standard input");
                    streams::input().and_then(|mut stdin| spool(&mut stdin, path, sink, name, job))
                }
                None => Err(Failure::at(
                    "standard input",
                    "needs the name of a file to go to, not of a directory",
                )),
            },
        };
        job.report.step(copied)?;
        // The next source may have the same names.
        target.sink.settle();
    }
    target.sink.finish()
}

/// Reads a stream to its end and puts it as a file.
fn spool(
    stream: &mut dyn io::Read,
    name: &Path,
    sink: &mut dyn Sink,
    to: &[u8],
    job: &Job<'_>,
) -> Outcome<()> {
    let spooled = host_source::spool(stream);
    crate::signals::check()?;
    let file = spooled.map_err(|error| Failure::host(name, &error))?;
    let mode = match job.options.keep.mode {
        true => 0o666 & !job.options.umask,
        false => 0o666,
    };
    host_source::copy_stream(file, sink, to, mode)
}

/// The last component of a path in an image as a name for a copy; empty for the root, `.` and `..`.
fn base_name(path: &[u8]) -> Vec<u8> {
    let trimmed = trim_slashes(path);
    match split_last(trimmed).1 {
        b"." | b".." => Vec::new(),
        name => name.to_vec(),
    }
}

/// The path without slashes at its end; empty for the root.
pub(super) fn trim_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&c| c != b'/');
    &path[..end.map_or(0, |end| end + 1)]
}

fn host_target<'scope, 'env>(
    path: &Path,
    many: bool,
    directories: bool,
    how: &How,
    job: &'scope Job<'scope>,
    scope: &'scope Scope<'scope, 'env>,
) -> Outcome<Target<HostSink<'scope, 'env>>> {
    let is_dir = path.is_dir();
    if is_dir && !how.no_target_directory {
        let sink = HostSink::new(path, job, scope)?;
        return Ok(Target { sink, name: None });
    }
    let slash = path.as_os_str().as_bytes().ends_with(b"/");
    if many || slash && !is_dir && !directories {
        return Err(Failure::at(shown_os(path), "not a directory"));
    }
    let (Some(name), parent) = (path.file_name(), path.parent()) else {
        return Err(Failure::at(shown_os(path), "not a name for a copy"));
    };
    let parent = match parent {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Target {
        sink: HostSink::new(&parent, job, scope)?,
        name: Some(name.as_bytes().to_vec()),
    })
}

fn image_target<'a>(
    image: &'a Image,
    address: &Address,
    many: bool,
    directories: bool,
    how: &How,
    job: &'a Job<'a>,
) -> Outcome<Target<ImageSink<'a>>> {
    let path = &address.path;
    let is_dir = image
        .proc
        .stat(path)
        .is_ok_and(|stat| stat.file_type == FileType::Directory);
    if is_dir && !how.no_target_directory {
        let sink = ImageSink::new(image, path, job)?;
        return Ok(Target { sink, name: None });
    }
    let shown = address.text();
    let slash = path.ends_with(b"/");
    if many || slash && !is_dir && !directories {
        return Err(Failure::at(self::shown(&shown), "not a directory"));
    }
    let (parent, name) = split_last(trim_slashes(path));
    if matches!(name, b"" | b"." | b"..") {
        if is_dir {
            // -T with the root: what is in the source goes there.
            let sink = ImageSink::new(image, path, job)?;
            let name = Some(Vec::new());
            return Ok(Target { sink, name });
        }
        return Err(Failure::at(self::shown(&shown), "not a name for a copy"));
    }
    let parent = if parent.is_empty() { b"/" } else { parent };
    Ok(Target {
        sink: ImageSink::new(image, parent, job)?,
        name: Some(name.to_vec()),
    })
}

fn to_stream(source: &Ready<'_>, out: &mut Stream) -> Outcome<()> {
    match source {
        Ready::Image(image, address) => super::cat::copy(image, &address.path, out),
        Ready::Host(path) | Ready::Pipe(path) => {
            let fail = |error: io::Error| Failure::host(path, &error);
            let mut file = hostfs::open(path)?;
            io::copy(&mut file, out).map_err(fail)?;
            Ok(())
        }
        Ready::Stream => {
            io::copy(&mut streams::input()?, out)?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_names() {
        for (path, name) in [
            ("/", ""),
            ("/a", "a"),
            ("/a/b/", "b"),
            ("/a/.", ""),
            ("/a/..", ""),
            ("//", ""),
        ] {
            assert_eq!(base_name(path.as_bytes()), name.as_bytes(), "{path}");
        }
        for (path, name) in [
            ("/", ""),
            ("a", "a"),
            ("a/b/", "b"),
            ("a/.", ""),
            ("..", ""),
        ] {
            let base = host_source::base_name(Path::new(path));
            assert_eq!(base, name.as_bytes(), "{path}");
        }
    }
}
