//! `rump mtree`.

use crate::{
    mtree::{
        found::{Found, Wanted, gather},
        keyword::Keywords,
        text,
    },
    output::Out,
    report::Outcome,
    session::Session,
};
use clap::Args;
use std::{ffi::OsString, io::Write as _};

/// Write an mtree(5) specification of a directory of an image
///
/// Version 2.0: whole paths, and for each the keywords type mode uid gid nlink size time link device sha256digest, as far as they apply.
/// There are also cksum md5digest rmd160digest sha1digest sha384digest sha512digest; all of them read a file once. Options choose them
/// as those of mtree(8) do; without digest in its name a keyword means the same.
#[derive(Args, Debug)]
pub(crate) struct Mtree {
    /// Write type and these keywords only, or all
    #[arg(short = 'k', long, value_name = "KEYWORDS", value_parser = Keywords::parse)]
    keywords: Vec<Keywords>,
    /// Write these keywords as well
    #[arg(short = 'K', long, value_name = "KEYWORDS", value_parser = Keywords::parse)]
    add_keywords: Vec<Keywords>,
    /// Do not write these keywords
    #[arg(short = 'R', long, value_name = "KEYWORDS", value_parser = Keywords::parse)]
    remove_keywords: Vec<Keywords>,
    #[command(flatten)]
    mount: super::Mount,
    /// Where to start
    #[arg(value_name = "IMAGE[@PART]:/path")]
    operand: OsString,
}

impl Mtree {
    /// How to mount.
    pub(crate) fn mount(&self) -> crate::session::MountOptions {
        self.mount.options()
    }

    /// Runs it.
    ///
    /// # Errors
    /// What ends the command.
    pub(crate) fn run(&self, session: &Session) -> Outcome<()> {
        let keywords = Keywords::chosen(&self.keywords, &self.add_keywords, &self.remove_keywords);
        let algorithms = keywords.algorithms();
        let address = session.address(&self.operand)?;
        let image = session.open(&address)?;
        let mut wanted = |_: &_| Wanted::Described(algorithms.clone());
        let found = gather(session, &image, &address.path, &mut wanted)?;
        let mut lines: Vec<_> = found.iter().map(|file| line(file, &keywords)).collect();
        // By the text, so that sort(1) changes nothing and two specifications can be compared with diff(1).
        lines.sort_unstable();
        let mut out = Out::new();
        out.write_all(b"#mtree v2.0\n")?;
        for line in &lines {
            out.write_all(line)?;
        }
        out.flush()?;
        Ok(())
    }
}

/// What is written of a file.
fn line(file: &Found, keywords: &Keywords) -> Vec<u8> {
    let mut line = Vec::new();
    text::path(&file.path, &mut line);
    for keyword in keywords.iter() {
        if let Some(value) = text::value(keyword, file) {
            line.push(b' ');
            line.extend_from_slice(keyword.name().as_bytes());
            line.push(b'=');
            line.extend_from_slice(&value);
        }
    }
    line.push(b'\n');
    line
}
