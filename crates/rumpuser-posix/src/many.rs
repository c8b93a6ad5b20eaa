//! Many messages in one call of the host (`recvmmsg`).

use crate::errno;
use rumpuser::Result;
use std::{
    io::{Error, IoSliceMut},
    mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

/// What was received into the room for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    /// Bytes.
    pub len: usize,
    /// From whom; `None` if the host does not say, or another family than the Internet's has it.
    pub from: Option<SocketAddr>,
    /// `MSG_TRUNC` and others, with the host's numbers.
    pub flags: i32,
}

/// Receives as many messages as there are, at most one into the buffers of each room, without waiting; `flags` are the host's.
///
/// # Errors
/// That of the first one: `EAGAIN` if there is none. That of a later one is the next call's.
pub fn receive_many(
    socket: BorrowedFd<'_>,
    rooms: &mut [Vec<IoSliceMut<'_>>],
    flags: i32,
) -> Result<Vec<Got>> {
    // SAFETY: an address of zeros is one of no family.
    let mut names: Vec<libc::sockaddr_storage> = vec![unsafe { mem::zeroed() }; rooms.len()];
    let size = libc::socklen_t::try_from(mem::size_of::<libc::sockaddr_storage>()).unwrap_or(0);
    let header = |(room, name): (&mut Vec<IoSliceMut<'_>>, &mut libc::sockaddr_storage)| {
        // SAFETY: a header of zeros has no buffers, no address and no control data.
        let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = size;
        // `IoSliceMut` has the form of `iovec` (its documentation says so).
        header.msg_hdr.msg_iov = room.as_mut_ptr().cast();
        header.msg_hdr.msg_iovlen = room.len() as _;
        header
    };
    let mut headers: Vec<libc::mmsghdr> = rooms.iter_mut().zip(&mut names).map(header).collect();
    let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
    // SAFETY: each header has a name of the size that it says and as many buffers as it says, which live, borrowed by nobody else, until the end
    // of this function; there are `count` of them or more.
    let got = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            (flags | libc::MSG_DONTWAIT) as _,
            ptr::null_mut(),
        )
    };
    let Ok(got) = usize::try_from(got) else {
        return Err(errno(&Error::last_os_error()));
    };
    let all = headers.iter().take(got);
    let lens: Vec<_> = all
        .map(|header| (header.msg_len, header.msg_hdr.msg_flags))
        .collect();
    let all = lens.into_iter().zip(&names);
    Ok(all
        .map(|((len, flags), name)| Got {
            len: usize::try_from(len).unwrap_or(usize::MAX),
            from: address(name),
            flags,
        })
        .collect())
}

/// An address of the Internet.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let name = ptr::from_ref(name);
    // SAFETY: it has room for each address, is aligned for all, and the family says which it is.
    unsafe {
        match i32::from((*name).ss_family) {
            libc::AF_INET => {
                let four = name.cast::<libc::sockaddr_in>().read();
                let ip = Ipv4Addr::from(u32::from_be(four.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(four.sin_port)).into())
            }
            libc::AF_INET6 => {
                let six = name.cast::<libc::sockaddr_in6>().read();
                let ip = Ipv6Addr::from(six.sin6_addr.s6_addr);
                let port = u16::from_be(six.sin6_port);
                let (flow, scope) = (six.sin6_flowinfo, six.sin6_scope_id);
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumpuser::Errno;
    use std::{net::UdpSocket, os::fd::AsFd as _};

    #[test]
    fn as_many_as_there_are() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(to) = UdpSocket::bind(any) else {
                continue;
            };
            let from = UdpSocket::bind(any).unwrap();
            let mut bytes = [[0_u8; 4]; 3];
            let mut receive = |flags| {
                let mut rooms: Vec<Vec<IoSliceMut<'_>>> = bytes
                    .iter_mut()
                    .map(|room| {
                        let (one, two) = room.split_at_mut(1);
                        vec![IoSliceMut::new(one), IoSliceMut::new(two)]
                    })
                    .collect();
                receive_many(to.as_fd(), &mut rooms, flags)
            };
            assert_eq!(receive(0), Err(Errno::EAGAIN));
            for text in [&b"ab"[..], b"", b"12345", b"later"] {
                from.send_to(text, to.local_addr().unwrap()).unwrap();
            }
            let got = receive(0).unwrap();
            let here = from.local_addr().ok();
            assert!(got.iter().all(|got| got.from == here));
            let lens: Vec<_> = got.iter().map(|got| (got.len, got.flags)).collect();
            assert_eq!(lens, [(2, 0), (0, 0), (4, libc::MSG_TRUNC)]);
            assert_eq!(receive(libc::MSG_TRUNC).unwrap()[0].len, 5);
            assert_eq!(receive(0), Err(Errno::EAGAIN));
            assert_eq!((&bytes[0], &bytes[2]), (b"late", b"1234"));
        }
    }
}
