//! Ten kernels, each with a TCP/IP stack of its own, on two networks with a bad line between them: a minute of traffic in a moment,
//! on one thread, the same at every run of the same seed.
//!
//! ```text
//!   a1 --+                                                                +-- b1
//!   a2 --+-- switch-a -- router-a ~~~ the line ~~~ router-b -- switch-b --+-- b2
//!   a3 --+   (bridge)                                        (bridge)     +-- b3
//!        10.1.0.0/24               10.9.0.0/24               10.2.0.0/24
//! ```
//!
//! Nothing here is a model: the kernels are those that run in real programs. What is simulated is their host ([`Sim`]): its clock jumps
//! from one deadline to the next while nobody has anything to do, and its randomness comes from the seed. What frames suffer on
//! their way is decided by [`LossyLink`](rumpnet::link::LossyLink)s.
//!
//! | module | what |
//! |---|---|
//! | [`topology`] | kernels, cables, addresses, routes |
//! | [`program`] | what the hosts do: transfers, questions and answers, telephone calls |

pub mod program;
pub mod topology;

use program::{Call, Program, Questions, Transfer};
use rumpnet::{link::Counters, pcap};
use rumpuser::{Result, sync::Mutex};
use rumpuser_sim::Sim;
use std::{sync::Arc, time::Duration};
use topology::Topology;

/// How often the programs look whether there is something to do.
const TICK: Duration = Duration::from_millis(1);

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// So much virtual time, after what it takes to connect.
    pub time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            time: Duration::from_secs(60),
        }
    }
}

/// What a program has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name.
    pub program: &'static str,
    /// Host that sends.
    pub from: String,
    /// Host that receives.
    pub to: String,
    /// Messages, answers, datagrams that have arrived.
    pub units: u64,
    /// Bytes that have arrived.
    pub bytes: u64,
    /// The longest that a unit took, where that is known.
    pub slowest: Option<Duration>,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Virtual time.
    pub time: Duration,
    /// The programs.
    pub flows: Vec<Flow>,
    /// The line in both directions.
    pub line: [Counters; 2],
    /// Everything that passed the interface of the first router to the line, as pcap.
    pub capture: Vec<u8>,
}

impl Report {
    /// A number over every byte of the capture and its times (FNV-1a).
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.capture.iter().fold(0xcbf2_9ce4_8422_2325, step)
    }
}

/// Simulates.
///
/// # Errors
/// What a system call of a program says that should not have failed.
pub fn run(options: &Options) -> Result<Report> {
    let sim = Sim::new(options.seed);
    let topology = Topology::new(&sim, options.seed)?;
    let capture = capture(&topology);
    let mut programs: Vec<Box<dyn Program>> = vec![
        Box::new(Transfer::new(&topology, 0, 3)?),
        Box::new(Transfer::new(&topology, 4, 1)?),
        Box::new(Questions::new(&topology, 1, 4)?),
        Box::new(Questions::new(&topology, 2, 0)?),
        Box::new(Call::new(&topology, 2, 5)?),
        Box::new(Call::new(&topology, 5, 2)?),
    ];
    let start = topology.now();
    let end = start.after(options.time);
    while topology.now() < end {
        for program in &mut programs {
            program.step(topology.now())?;
        }
        sim.sleep(TICK);
    }
    let report = Report {
        time: topology.now().since(start),
        flows: programs.iter().map(|program| program.report()).collect(),
        line: topology.line.each_ref().map(|end| end.counters()),
        capture: std::mem::take(&mut *capture.lock()),
    };
    drop(programs);
    topology.shutdown()?;
    Ok(report)
}

/// Keeps what passes over the line.
fn capture(topology: &Topology) -> Arc<Mutex<Vec<u8>>> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let sink = bytes.clone();
    let host = topology.routers[0].host();
    let writer = pcap::Writer::new(
        pcap::Format::Pcap,
        &topology.line_interface,
        host,
        usize::MAX,
        pcap::Expression::default(),
        Box::new(move |part| sink.lock().extend_from_slice(part)),
    );
    topology.line_interface.taps().add(writer);
    bytes
}
