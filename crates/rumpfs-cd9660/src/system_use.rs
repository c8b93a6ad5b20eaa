//! System use entries (SUSP, IEEE P1281): the fields that extensions put behind a directory record.

use crate::{
    error::{Error, Place, Result},
    layout::{RawContinuation, RawSystemUse},
    medium::Medium,
    types::number,
};
use alloc::vec::Vec;
use zerocopy::FromBytes;

/// Bytes before an entry's content.
const FIXED: usize = size_of::<RawSystemUse>();
/// No more continuation areas are followed than this; a name and a link of full length need a few.
const MOST_AREAS: usize = 64;
/// No area is longer than this, in bytes.
const LONGEST_AREA: u32 = 32_768;

/// One entry.
#[derive(Clone, Copy)]
pub(crate) struct SystemUse<'a> {
    /// Signature word.
    pub(crate) signature: [u8; 2],
    /// What follows length and version.
    pub(crate) content: &'a [u8],
}

/// Calls `each` with the entries of an area at the byte `at` of the device, those of its continuation areas included.
/// What is no entry ends an area without an error: other extensions may have used the room otherwise (SUSP 3).
pub(crate) fn each(
    medium: &Medium,
    at: u64,
    area: &[u8],
    mut each: impl FnMut(SystemUse<'_>) -> Result<()>,
) -> Result<()> {
    let mut next = scan(at, area, &mut each)?;
    let mut bytes = Vec::new();
    for _ in 0..MOST_AREAS {
        let Some(continuation) = next else {
            return Ok(());
        };
        let place = Place::SystemUse(at);
        let length = continuation.length.get();
        if length > LONGEST_AREA {
            return Err(Error::value(place, "CE length", length, "32768 or less"));
        }
        let start = medium
            .byte_of(continuation.block.get())
            .saturating_add(u64::from(continuation.offset.get()));
        bytes.clear();
        let length = usize::try_from(length).unwrap_or(0);
        medium.append(start, length, Place::SystemUse(start), &mut bytes)?;
        next = scan(start, &bytes, &mut each)?;
    }
    match next {
        None => Ok(()),
        Some(_) => {
            let place = Place::SystemUse(at);
            let most = number(MOST_AREAS);
            Err(Error::value(place, "continuation areas", most, "fewer"))
        }
    }
}

/// The entries of one area; returns where it goes on.
fn scan(
    at: u64,
    mut area: &[u8],
    each: &mut impl FnMut(SystemUse<'_>) -> Result<()>,
) -> Result<Option<RawContinuation>> {
    let mut next = None;
    while let Ok((raw, _)) = RawSystemUse::read_from_prefix(area) {
        let length = usize::from(raw.length);
        let (Some(content), Some(rest)) = (area.get(FIXED..length), area.get(length..)) else {
            break;
        };
        area = rest;
        match &raw.signature {
            b"CE" => {
                let Ok((continuation, _)) = RawContinuation::read_from_prefix(content) else {
                    let place = Place::SystemUse(at);
                    return Err(Error::value(place, "CE length", raw.length, "28"));
                };
                next = Some(continuation);
            }
            b"ST" => break,
            _ => each(SystemUse {
                signature: raw.signature,
                content,
            })?,
        }
    }
    Ok(next)
}
