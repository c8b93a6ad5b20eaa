//! Who asks whom, how often, and over what.

use crate::{
    Config, Name,
    cache::Cache,
    message::{Answer, Kind, Question, Status},
    order::order,
};
use alloc::{sync::Arc, vec, vec::Vec};
use core::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use rumpkern::{Fd, OpenFlags, Proc, file::Ready, poll::PollFd};
use rumpnet::{
    SocketCalls as _,
    socket::{Domain, MsgFlags},
};
use rumpuser::{
    Errno, Instant,
    sync::{Mutex, RwLock},
};

/// How often an alias that leads out of an answer is asked for in turn.
const ALIASES: usize = 8;

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// Both; those of IPv6 come first.
    #[default]
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Families {
    const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Any => &[Kind::Aaaa, Kind::A],
            Self::V4 => &[Kind::A],
            Self::V6 => &[Kind::Aaaa],
        }
    }

    const fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is no name of a host.
    BadName,
    /// No such name.
    NoName,
    /// The name exists, but has no address of the wanted family.
    NoAddress,
    /// No server is known.
    NoServer,
    /// No server answered in time.
    TimedOut,
    /// The servers could or would not answer; the code of the last one (RFC 1035 section 4.1.1).
    ServerFailure(u8),
    /// No server could be reached.
    Network(Errno),
}

impl Error {
    /// The number that is nearest.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::BadName => Errno::EINVAL,
            Self::NoName | Self::NoAddress => Errno::ENOENT,
            Self::NoServer => Errno::EDESTADDRREQ,
            Self::TimedOut => Errno::ETIMEDOUT,
            Self::ServerFailure(_) => Errno::EAGAIN,
            Self::Network(errno) => errno,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName => f.write_str("not a name of a host"),
            Self::NoName => f.write_str("no such name"),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::NoServer => f.write_str("no name server is known"),
            Self::TimedOut => f.write_str("no name server answered"),
            Self::ServerFailure(2) => f.write_str("the name server failed"),
            Self::ServerFailure(5) => f.write_str("the name server refused"),
            Self::ServerFailure(code) => write!(f, "the name server answered with code {code}"),
            Self::Network(errno) => write!(f, "name server: {errno}"),
        }
    }
}

impl core::error::Error for Error {}

/// A resolver with its cache. Any number of threads may ask.
#[derive(Default)]
pub struct Resolver {
    config: RwLock<Arc<Config>>,
    cache: Mutex<Cache>,
}

impl Resolver {
    /// With these servers and rules.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config: RwLock::new(Arc::new(config)),
            cache: Mutex::default(),
        }
    }

    /// The servers and rules.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.read().clone()
    }

    /// Changes them, and forgets what others said.
    pub fn set_config(&self, config: Config) {
        *self.config.write() = Arc::new(config);
        self.cache.lock().clear();
    }

    /// The addresses of a host: at least one.
    ///
    /// # Errors
    /// Why there is none.
    pub fn lookup(&self, proc: &Proc, host: &str) -> Result<Vec<IpAddr>, Error> {
        self.lookup_in(proc, host, Families::Any)
    }

    /// The addresses of a host that are of certain families: at least one, in the order in which they are to be tried. An address as text is its own.
    ///
    /// # Errors
    /// Why there is none.
    pub fn lookup_in(
        &self,
        proc: &Proc,
        host: &str,
        families: Families,
    ) -> Result<Vec<IpAddr>, Error> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return families.has(ip).then(|| vec![ip]).ok_or(Error::NoAddress);
        }
        let mut all = self.find(proc, host, families)?;
        order(proc, &mut all);
        Ok(all)
    }

    /// The same as they come.
    fn find(&self, proc: &Proc, host: &str, families: Families) -> Result<Vec<IpAddr>, Error> {
        let name: Name = host.parse().map_err(|_| Error::BadName)?;
        let config = self.config();
        if let Some(mut all) = config.hosts.get(&name) {
            all.retain(|ip| families.has(*ip));
            return if all.is_empty() {
                Err(Error::NoAddress)
            } else {
                Ok(all)
            };
        }
        // One candidate may be refused, and another be there; of what is known for sure, the most is told.
        let (mut no_address, mut failure) = (None, None);
        for name in config.candidates(&name, host.ends_with('.')) {
            match self.resolve(proc, &config, &name, families) {
                Ok(all) if all.is_empty() => no_address = Some(Error::NoAddress),
                Ok(all) => return Ok(all),
                Err(Error::NoName) => {}
                Err(error @ Error::ServerFailure(_)) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(no_address.or(failure).unwrap_or(Error::NoName))
    }

    /// The addresses of one full name; none where it has none.
    fn resolve(
        &self,
        proc: &Proc,
        config: &Config,
        name: &Name,
        families: Families,
    ) -> Result<Vec<IpAddr>, Error> {
        let kernel = proc.kernel();
        let host = kernel.host();
        let mut wanted = Vec::new();
        let mut found = Vec::new();
        for &kind in families.kinds() {
            match self.cache.lock().get(name, kind, host.monotonic()) {
                Some(all) => found.extend(all),
                None => wanted.push(Question {
                    name: name.clone(),
                    kind,
                }),
            }
        }
        // Each round asks for what the one before led to.
        let (mut missing, mut failure) = (None, None);
        for _ in 0..ALIASES {
            if wanted.is_empty() {
                break;
            }
            let answers = ask_all(proc, config, &wanted)?;
            let mut next = Vec::new();
            for (question, answer) in wanted.iter().zip(answers) {
                match failed(answer.status) {
                    Some(Error::NoName) => missing = Some(Error::NoName),
                    // The other family's address may be there all the same.
                    other => failure = other.or(failure),
                }
                if let Some(alias) = answer.alias {
                    next.push(Question {
                        name: alias,
                        kind: question.kind,
                    });
                    continue;
                }
                let told = matches!(answer.status, Status::Ok | Status::NoName);
                if let (Some(ttl), true) = (answer.ttl, told && question.name == *name) {
                    let (kind, all) = (question.kind, answer.addresses.clone());
                    let mut cache = self.cache.lock();
                    cache.put(name.clone(), kind, all, ttl, host.monotonic());
                }
                found.extend(answer.addresses);
            }
            wanted = next;
        }
        found.sort_by_key(IpAddr::is_ipv4);
        match missing.or(failure) {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }
}

/// What a status means to who asked.
const fn failed(status: Status) -> Option<Error> {
    match status {
        Status::Ok => None,
        Status::NoName => Some(Error::NoName),
        Status::FormatError => Some(Error::ServerFailure(1)),
        Status::Failure(code) => Some(Error::ServerFailure(code)),
    }
}

/// Asks the servers in turn until one has answered all questions.
fn ask_all(proc: &Proc, config: &Config, questions: &[Question]) -> Result<Vec<Answer>, Error> {
    let mut worst = Error::NoServer;
    for _ in 0..config.attempts.max(1) {
        for server in &config.servers {
            match ask(proc, *server, questions, config.timeout) {
                Ok(answers) => {
                    let failed = |answer: &Answer| match answer.status {
                        Status::Failure(code) => Some(code),
                        _ => None,
                    };
                    // Who answers one question and refuses the other has said what it knows.
                    let codes: Option<Vec<u8>> = answers.iter().map(failed).collect();
                    match codes.as_deref() {
                        Some([code, ..]) => worst = Error::ServerFailure(*code),
                        _ => return Ok(answers),
                    }
                }
                Err(Errno::ETIMEDOUT) => worst = Error::TimedOut,
                // Nobody listens there, or there is no way: another server may do.
                Err(errno) => worst = Error::Network(errno),
            }
        }
    }
    Err(worst)
}

/// A socket that is closed when it goes.
struct Conversation<'a> {
    proc: &'a Proc,
    fd: Fd,
    deadline: Instant,
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        // There is nothing to lose: what was to be heard was heard.
        let _ = self.proc.close(self.fd);
    }
}

impl<'a> Conversation<'a> {
    fn new(
        proc: &'a Proc,
        server: SocketAddr,
        kind: rumpnet::socket::Kind,
        deadline: Instant,
    ) -> Result<Self, Errno> {
        let domain = if server.is_ipv4() {
            Domain::Inet
        } else {
            Domain::Inet6
        };
        let flags = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK;
        let fd = proc.socket(domain, kind, 0, flags)?;
        let this = Self { proc, fd, deadline };
        match proc.connect(fd, &server.into()) {
            Err(Errno::EINPROGRESS) => {
                this.wait(Ready::OUT)?;
                use rumpnet::socket::SockOpt::Error;
                if let Error(Some(errno)) = proc.getsockopt(fd, &Error(None))? {
                    return Err(errno);
                }
            }
            done => done?,
        }
        Ok(this)
    }

    fn wait(&self, events: Ready) -> Result<(), Errno> {
        let left = self.deadline.since(self.proc.kernel().host().monotonic());
        let mut fds = [PollFd {
            fd: self.fd,
            events,
            ready: Ready::empty(),
        }];
        match self.proc.poll(&mut fds, Some(left))? {
            0 => Err(Errno::ETIMEDOUT),
            _ => Ok(()),
        }
    }

    fn receive(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        loop {
            // Also where something comes all the time that is no answer.
            if self.proc.kernel().host().monotonic() >= self.deadline {
                return Err(Errno::ETIMEDOUT);
            }
            match self.proc.recvfrom(self.fd, buf, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => self.wait(Ready::IN)?,
                done => return done.map(|(len, _)| len),
            }
        }
    }

    fn receive_exact(&self, mut buf: &mut [u8]) -> Result<(), Errno> {
        while !buf.is_empty() {
            match self.receive(buf)? {
                0 => return Err(Errno::ECONNRESET),
                count => buf = buf.get_mut(count..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    fn send(&self, mut data: &[u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            match self.proc.sendto(self.fd, data, MsgFlags::empty(), None) {
                Err(Errno::EAGAIN) => self.wait(Ready::OUT)?,
                done => data = data.get(done?..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

fn random_id(proc: &Proc) -> u16 {
    let mut bytes = [0; 2];
    proc.kernel().host().random(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// Asks one server, over UDP; what does not fit, over TCP.
fn ask(
    proc: &Proc,
    server: SocketAddr,
    questions: &[Question],
    timeout: Duration,
) -> Result<Vec<Answer>, Errno> {
    let deadline = proc.kernel().host().monotonic().after(timeout);
    let udp = Conversation::new(proc, server, rumpnet::socket::Kind::Datagram, deadline)?;
    let mut waiting: Vec<(u16, bool, Option<Answer>)> = Vec::new();
    for question in questions {
        let mut id = random_id(proc);
        while waiting.iter().any(|(other, _, _)| *other == id) {
            id = random_id(proc);
        }
        udp.send(&question.message(id, true))?;
        waiting.push((id, true, None));
    }
    let mut buf = vec![0; usize::from(u16::MAX)];
    while waiting.iter().any(|(_, _, answer)| answer.is_none()) {
        let len = udp.receive(&mut buf)?;
        let message = buf.get(..len).unwrap_or_default();
        for (question, (id, edns, answer)) in questions.iter().zip(&mut waiting) {
            let Some(read) = Answer::read(message, *id, question).filter(|_| answer.is_none())
            else {
                continue;
            };
            if read.status == Status::FormatError && *edns {
                // A server from before EDNS (RFC 6891 section 6.2.2).
                *edns = false;
                udp.send(&question.message(*id, false))?;
            } else if read.truncated {
                *answer = Some(ask_tcp(proc, server, question, *edns, deadline)?);
            } else {
                *answer = Some(read);
            }
            break;
        }
    }
    Ok(waiting
        .into_iter()
        .filter_map(|(_, _, answer)| answer)
        .collect())
}

/// Asks over TCP, where a length goes in front of each message (RFC 1035 section 4.2.2).
fn ask_tcp(
    proc: &Proc,
    server: SocketAddr,
    question: &Question,
    edns: bool,
    deadline: Instant,
) -> Result<Answer, Errno> {
    let tcp = Conversation::new(proc, server, rumpnet::socket::Kind::Stream, deadline)?;
    let id = random_id(proc);
    let message = question.message(id, edns);
    let len = u16::try_from(message.len()).map_err(|_| Errno::EMSGSIZE)?;
    tcp.send(&[&len.to_be_bytes()[..], &message].concat())?;
    let mut len = [0; 2];
    tcp.receive_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    tcp.receive_exact(&mut message)?;
    let answer = Answer::read(&message, id, question).ok_or(Errno::EBADMSG)?;
    if answer.truncated {
        return Err(Errno::EBADMSG);
    }
    Ok(answer)
}
