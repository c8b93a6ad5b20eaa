//! What a test is to be: the parameters that the client sends.

use serde_json::{Value, json};
use std::time::Duration;

/// Streams at most.
const PARALLEL: u64 = 128;
/// Payload of a datagram unless told otherwise: it fits in a packet of 1500 bytes with any headers.
const UDP_LEN: u32 = 1_432;

/// Bytes of each write at least: the head of a datagram.
pub(super) const SHORTEST: u64 = 16;

/// What a test is to be, as the client tells the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Test {
    pub(super) udp: bool,
    pub(super) reverse: bool,
    pub(super) time: Duration,
    pub(super) bytes: Option<u64>,
    pub(super) parallel: usize,
    pub(super) len: usize,
    pub(super) rate: u64,
    pub(super) no_delay: bool,
    /// The congestion control of who sends; `None` for the usual one.
    pub(super) congestion: Option<String>,
    /// Datagrams have numbers of 64 bits.
    pub(super) wide: bool,
}

impl Test {
    pub(super) fn to_json(&self) -> Value {
        let mut object = json!({
            "omit": 0,
            "time": self.time.as_secs().max(1),
            "num": self.bytes.unwrap_or(0),
            "blockcount": 0,
            "parallel": self.parallel,
            "len": self.len,
            "bandwidth": self.rate,
            "pacing_timer": 1_000,
            "client_version": "3.16",
        });
        object[if self.udp { "udp" } else { "tcp" }] = true.into();
        if self.udp {
            object["udp_counters_64bit"] = 1.into();
        }
        if self.reverse {
            object["reverse"] = true.into();
        }
        if self.no_delay {
            object["nodelay"] = true.into();
        }
        if let Some(name) = &self.congestion {
            object["congestion"] = name.as_str().into();
        }
        object
    }

    /// What another client wants; an error when it is more than there is here.
    pub(super) fn of_json(object: &Value) -> Result<Self, &'static str> {
        let flag = |name: &str| object[name].as_bool().unwrap_or(false);
        let number = |name: &str| object[name].as_u64().unwrap_or(0);
        if flag("bidirectional") {
            return Err("both directions at once are not done here");
        }
        if flag("sctp") || flag("tcp") == flag("udp") {
            return Err("neither TCP nor UDP");
        }
        let (parallel, len) = (number("parallel").max(1), number("len"));
        let udp = flag("udp");
        if parallel > PARALLEL || len > longest(udp) {
            return Err("more streams or longer writes than are done here");
        }
        if udp && (1..SHORTEST).contains(&len) {
            return Err("datagrams shorter than their heads");
        }
        Ok(Self {
            udp,
            reverse: flag("reverse"),
            time: Duration::from_secs(number("time").min(86_400)),
            bytes: Some(number("num")).filter(|count| *count > 0),
            parallel: parallel as usize,
            len: if len > 0 {
                len as usize
            } else {
                default_len(udp) as usize
            },
            rate: number("bandwidth"),
            no_delay: flag("nodelay"),
            congestion: object["congestion"].as_str().map(str::to_owned),
            wide: number("udp_counters_64bit") == 1,
        })
    }
}

/// Bytes of each write unless told otherwise.
pub(super) const fn default_len(udp: bool) -> u32 {
    if udp { UDP_LEN } else { 128 << 10 }
}

/// Bytes of a write at most.
pub(super) const fn longest(udp: bool) -> u64 {
    if udp { 65_507 } else { 1 << 20 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_survive_the_way() {
        let test = Test {
            udp: false,
            reverse: true,
            time: Duration::from_secs(7),
            bytes: Some(9),
            parallel: 3,
            len: 4_096,
            rate: 5,
            no_delay: true,
            congestion: Some("bbr".into()),
            wide: false,
        };
        assert_eq!(Test::of_json(&test.to_json()), Ok(test));
        for bad in [
            json!({}),
            json!({"tcp": true, "bidirectional": true}),
            json!({"tcp": true, "parallel": 1_000}),
            json!({"udp": true, "len": 70_000}),
            json!({"udp": true, "len": 15}),
            json!({"sctp": true}),
        ] {
            assert!(Test::of_json(&bad).is_err(), "{bad}");
        }
    }
}
