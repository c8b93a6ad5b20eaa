//! `rump tar`, `rump untar`.

use crate::{
    archive::{extract, read::Reader, write::TarSink},
    copy::{
        Job, Keep, PutOptions, Sink,
        image_sink::ImageSink,
        image_source::{self, From, Links},
    },
    hostfs::{self, HostDir, Unnamed},
    quote::shown_os,
    report::{Failure, Outcome},
    session::{Image, Session},
    streams,
};
use clap::Args;
use rumpkern::FileType;
use rumpvfs::Calls as _;
use rustix::fs::{Mode, OFlags};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, BufReader, BufWriter, IsTerminal, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// Write a directory of an image as a pax archive
///
/// Members are sorted, so the same tree gives the same archive. Owners, modes, modification times to the nanosecond, hard links, holes,
/// devices and extended attributes are kept. GNU tar and bsdtar read it; tell GNU tar --xattrs --xattrs-include='*' to have it restore
/// attributes.
#[derive(Args, Debug)]
pub(crate) struct Tar {
    /// Into this file instead of standard output
    #[arg(short = 'f', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Everything belongs to these numbers
    #[arg(long, value_name = "UID:GID", value_parser = super::parse_owner)]
    owner: Option<(u32, u32)>,
    /// Name everything on standard error
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// A directory, whose content is archived, or a file
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operand: OsString,
}

/// Unpack a tar archive into a directory of an image
///
/// Reads ustar, GNU and pax archives. Compressed ones must be decompressed before, as in: zcat FILE | rump untar IMAGE:/dir
#[derive(Args, Debug)]
pub(crate) struct Untar {
    /// From this file instead of standard input
    #[arg(short = 'f', long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Leave so many leading components of names out
    #[arg(long, value_name = "N", default_value_t = 0)]
    strip_components: usize,
    /// Everything belongs to these numbers
    #[arg(long, value_name = "UID:GID", value_parser = super::parse_owner)]
    owner: Option<(u32, u32)>,
    /// Leave existing files alone
    #[arg(short = 'k', long)]
    keep_old_files: bool,
    /// Fail if an attribute cannot be kept
    #[arg(long)]
    strict: bool,
    /// Name everything on standard error
    #[arg(short = 'v', long)]
    verbose: bool,
    #[command(flatten)]
    mount: super::Mount,
    /// The directory
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operand: OsString,
}

/// Whether `-f -` or no `-f` at all.
fn file_of(path: Option<&PathBuf>) -> Option<&Path> {
    path.map(PathBuf::as_path)
        .filter(|path| *path != Path::new("-"))
}

impl Tar {
    /// Whether it writes to anything but standard output.
    pub(crate) fn makes_a_file(&self) -> bool {
        self.file.is_some()
    }

    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let address = session.address(&self.operand)?;
        let image = session.open(&address)?;
        let options = PutOptions {
            keep: Keep {
                mode: true,
                owner: true,
                times: true,
                links: true,
                xattrs: true,
                acls: false,
            },
            owner: self.owner,
            verbose: self.verbose,
            ..PutOptions::default()
        };
        let job = Job::new(&session.report, options, false);
        match file_of(self.file.as_ref()) {
            Some(path) if hostfs::is_stream(path) => {
                let file = File::options().write(true).open(path);
                let file = file.map_err(|error| Failure::host(path, &error))?;
                let out = BufWriter::with_capacity(1 << 16, file);
                let name = shown_os(path);
                let sink = TarSink::new(out, Some(&name), &job);
                fill(&image, &address.path, sink, &job).map(drop)
            }
            Some(path) => self.to_file(&image, &address.path, path, &job),
            None => {
                let out = io::stdout().lock();
                if out.is_terminal() {
                    let reason = "is a terminal; use -f FILE or a pipe";
                    return Err(Failure::at("standard output", reason));
                }
                // Not through std's line buffer.
                let out = out.as_fd().try_clone_to_owned()?;
                let out = BufWriter::with_capacity(1 << 16, File::from(out));
                let sink = TarSink::new(out, None, &job);
                fill(&image, &address.path, sink, &job).map(drop)
            }
        }
    }

    /// Writes a file that gets its name when it is complete.
    fn to_file(&self, image: &Image, from: &[u8], path: &Path, job: &Job<'_>) -> Outcome<()> {
        let fail = |error: io::Error| Failure::host(path, &error);
        let name = path.file_name().map(OsStr::as_encoded_bytes);
        let name = name.ok_or_else(|| Failure::at(shown_os(path), "not a name for a file"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut dir = HostDir::open(parent).map_err(fail)?;
        let (at, name) = dir.parent(name).map_err(fail)?;
        let (unnamed, file) = Unnamed::make(at, |dir, name| {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666))
        })
        .map_err(fail)?;
        let out = BufWriter::with_capacity(1 << 16, File::from(file));
        let shown = shown_os(path);
        let sink = TarSink::new(out, Some(&shown), job);
        drop(fill(image, from, sink, job)?);
        unnamed.publish(name, false).map_err(fail)
    }
}

fn fill<W: Write>(
    image: &Image,
    from: &[u8],
    mut sink: TarSink<'_, W>,
    job: &Job<'_>,
) -> Outcome<W> {
    let stat = image.proc.stat(from);
    let stat = stat.map_err(|errno| image.failure(from, errno))?;
    let to = if stat.file_type == FileType::Directory {
        b""
    } else {
        crate::copy::split_last(from).1
    };
    let how = From {
        recursive: true,
        follow_start: true,
        follow_all: false,
        sorted: true,
    };
    image_source::copy(image, from, &mut sink, to, how, &mut Links::default(), job)?;
    sink.finish()?;
    Ok(sink.into_inner())
}

impl Untar {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let address = session.address(&self.operand)?;
        let options = PutOptions {
            keep: Keep {
                mode: true,
                owner: true,
                times: true,
                links: true,
                xattrs: true,
                acls: false,
            },
            owner: self.owner,
            no_clobber: self.keep_old_files,
            verbose: self.verbose,
            umask: 0o022,
        };
        let job = Job::new(&session.report, options, self.strict);
        let (input, name): (Box<dyn Read>, String) = match file_of(self.file.as_ref()) {
            Some(path) => {
                let file = crate::hostfs::open(path)?;
                (Box::new(file), shown_os(path))
            }
            None => (Box::new(streams::input()?), "standard input".into()),
        };
        let image = session.open_rw(&address)?;
        let mut sink = ImageSink::new(&image, &address.path, &job)?;
        let mut reader = Reader::new(BufReader::with_capacity(1 << 16, input), &name);
        let copied = extract::copy(&mut reader, &mut sink, self.strip_components, &job);
        // What was unpacked before an error gets its attributes too.
        let finished = sink.finish();
        copied.and(finished)
    }
}
