//! Measurements that go through the library: benches, which print an object of JSON per row.

use super::arena;
use crate::{Result, tools};
use serde::{Deserialize, Serialize};

/// A call of a rump kernel beside the same of the host.
#[derive(Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) row: String,
    pub(crate) ours: f64,
    pub(crate) peer: Option<f64>,
    /// `ns` of a call, or `x`: calls of two threads in the time of one thread's.
    pub(crate) unit: String,
    /// How many times better ours is.
    pub(crate) ratio: Option<f64>,
    /// Of the ratio for `ns`; of ours for `x` and where there is no peer.
    pub(crate) target: Option<f64>,
    /// Whether the target was reached.
    pub(crate) ok: bool,
}

/// How often a second a stack of TCP/IP does a job, beside others.
#[derive(Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) row: String,
    /// `/s` or `bit/s`.
    pub(crate) unit: String,
    pub(crate) ours: f64,
    pub(crate) peers: Vec<PeerRate>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct PeerRate {
    pub(crate) name: String,
    pub(crate) rate: f64,
    /// How many times its rate ours is meant to be.
    pub(crate) goal: Option<f64>,
}

/// What a file costs among so many.
#[derive(Serialize, Deserialize)]
pub(crate) struct Growth {
    /// Volume, shape and work.
    pub(crate) row: String,
    pub(crate) files: u64,
    /// Nanoseconds of CPU time.
    pub(crate) ns_per_file: f64,
}

impl Growth {
    /// The rows by name, in order of their first appearance: number of files and cost, ascending.
    pub(crate) fn series(rows: &[Self]) -> Vec<(&str, Vec<(u64, f64)>)> {
        let mut all: Vec<(&str, Vec<(u64, f64)>)> = vec![];
        for row in rows {
            let point = (row.files, row.ns_per_file);
            match all.iter_mut().find(|(name, _)| *name == row.row) {
                Some((_, series)) => series.push(point),
                None => all.push((&row.row, vec![point])),
            }
        }
        all.iter_mut()
            .for_each(|(_, series)| series.sort_by_key(|(files, _)| *files));
        all
    }
}

/// Runs a bench of a crate; gives its rows.
pub(crate) fn run<R: for<'de> Deserialize<'de>>(
    package: &str,
    bench: &str,
    arguments: &[&str],
) -> Result<Vec<R>> {
    let mut command = tools::command("cargo");
    command.args(["bench", "--package", package, "--bench", bench]);
    command.args(["--", "--json"]);
    command.args(arguments).env("RUMP", arena::program("rump"));
    let smoltcp = arena::program("peer-smoltcp");
    if std::path::Path::new(&smoltcp).exists() {
        command.env("PEER_SMOLTCP", smoltcp);
    }
    let (mut rows, mut problem) = (vec![], None);
    tools::each_line(&mut command, |line| {
        if line.starts_with('{') {
            match serde_json::from_str(line) {
                Ok(row) => rows.push(row),
                Err(error) => problem = Some(format!("{line}: {error}")),
            }
        }
    })?;
    match problem {
        Some(problem) => Err(problem),
        None if rows.is_empty() => Err(format!("{bench} gave no rows")),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_benches() {
        let line = r#"{"row": "null call", "ours": 7.5, "peer": null, "unit": "ns", "ratio": null, "target": 20.000, "ok": true}"#;
        let call: Call = serde_json::from_str(line).unwrap();
        assert_eq!(
            (call.ours, call.peer, call.target, call.ok),
            (7.5, None, Some(20.0), true)
        );
        let line = r#"{"row": "connect", "unit": "/s", "ours": 5, "peers": [{"name": "host", "rate": 2, "goal": null}]}"#;
        let rate: Rate = serde_json::from_str(line).unwrap();
        assert_eq!(
            (rate.ours, rate.peers[0].rate, rate.peers[0].goal),
            (5.0, 2.0, None)
        );
        let line = r#"{"row":"ext4 flat create","files":1000,"ns_per_file":812.5,"unit":"ns of CPU time"}"#;
        let growth: Growth = serde_json::from_str(line).unwrap();
        let more = Growth {
            files: 10,
            ..serde_json::from_str(line).unwrap()
        };
        let rows = [growth, more];
        let series = Growth::series(&rows);
        assert_eq!(
            series,
            [("ext4 flat create", vec![(10, 812.5), (1000, 812.5)])]
        );
    }
}
