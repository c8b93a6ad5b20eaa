//! Servers and rules, as resolv.conf(5) has them, and names that need no server, as hosts(5) has them.

use crate::Name;
use alloc::{collections::BTreeMap, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Port of servers.
pub const PORT: u16 = 53;
/// Servers and domains that count at most.
const MOST: usize = 8;

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// Domains that names are looked for in.
    pub search: Vec<Name>,
    /// Names with at least as many dots are tried as they are first (1).
    pub ndots: usize,
    /// How long a server has to answer (5 s).
    pub timeout: Duration,
    /// How often all servers are asked (2).
    pub attempts: u32,
    /// Names that need no server.
    pub hosts: Hosts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            hosts: Hosts::default(),
        }
    }
}

impl Config {
    /// Reads the text of a resolv.conf(5): `nameserver`, `search`, `domain`, and of `options` `ndots`, `timeout` and `attempts`. As
    /// usual, what it does not know is passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    let server = ip.map(|ip| SocketAddr::new(ip, PORT));
                    config.servers.extend(server);
                }
                Some("search" | "domain") => {
                    config.search = words.filter_map(|word| word.parse().ok()).collect();
                }
                Some("options") => words.for_each(|word| config.option(word)),
                _ => {}
            }
        }
        config.servers.truncate(MOST);
        config.search.truncate(MOST);
        config
    }

    fn option(&mut self, word: &str) {
        let Some((name, Ok(value))) = word.split_once(':').map(|(n, v)| (n, v.parse::<u8>()))
        else {
            return;
        };
        match name {
            "ndots" => self.ndots = usize::from(value.min(15)),
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30).into()),
            "attempts" => self.attempts = value.clamp(1, 5).into(),
            _ => {}
        }
    }

    /// The names to ask for in turn when somebody says `name`: with a dot at the end that one alone.
    #[must_use]
    pub fn candidates(&self, name: &Name, absolute: bool) -> Vec<Name> {
        let mut all: Vec<Name> = Vec::new();
        if !absolute {
            all.extend(self.search.iter().filter_map(|domain| name.under(domain)));
        }
        let dots = name.labels().count().saturating_sub(1);
        let first = dots >= self.ndots;
        all.insert(if first { 0 } else { all.len() }, name.clone());
        all
    }
}

/// Names that need no server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<Name, Vec<IpAddr>>);

impl Hosts {
    /// Reads the text of a hosts(5): an address and its names on each line. Lines that are not so are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words.filter_map(|word| word.parse::<Name>().ok()) {
                hosts.add(name, ip);
            }
        }
        hosts
    }

    /// Adds an address of a name.
    pub fn add(&mut self, name: Name, address: IpAddr) {
        let all = self.0.entry(name).or_default();
        if !all.contains(&address) {
            all.push(address);
        }
    }

    /// The addresses of a name. `localhost` and what is below it are this host whatever anybody says (RFC 6761 section 6.3).
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<Vec<IpAddr>> {
        if let Some(all) = self.0.get(name) {
            return Some(all.clone());
        }
        let last = name.labels().last();
        let loopback = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        (last == Some(b"localhost")).then(|| loopback.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn files() {
        let config = Config::parse(
            "# c\nnameserver 192.0.2.1\nnameserver ::1 ; x\nnameserver bad\n\
             search a.org b.org\noptions ndots:2 timeout:3 attempts:9 rotate\nwhatever\n",
        );
        let servers: [SocketAddr; 2] = ["192.0.2.1:53", "[::1]:53"].map(|s| s.parse().unwrap());
        assert_eq!(config.servers, servers);
        assert_eq!(
            (config.ndots, config.timeout.as_secs(), config.attempts),
            (2, 3, 5)
        );
        let all = ["x.y.a.org", "x.y.b.org", "x.y"].map(name);
        assert_eq!(config.candidates(&name("x.y"), false), all);
        assert_eq!(config.candidates(&name("x.y"), true), [name("x.y")]);
        assert_eq!(config.candidates(&name("x.y.z"), false)[0], name("x.y.z"));
        let hosts = Hosts::parse("192.0.2.7 Box box.lan # mine\n::7\tbox\nbad x\n");
        let box_ips: [IpAddr; 2] = ["192.0.2.7", "::7"].map(|s| s.parse().unwrap());
        assert_eq!(hosts.get(&name("box")), Some(box_ips.to_vec()));
        assert_eq!(hosts.get(&name("x")), None);
        assert_eq!(hosts.get(&name("a.localhost")).unwrap().len(), 2);
    }
}
