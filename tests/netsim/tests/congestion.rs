//! What congestion controls make of a line: how much they get, how long they make its queue, how they share.

use rump_netsim::race::{Flow, Line, race};
use rumpnet::link::Chance;
use std::time::Duration;

/// 20 Mbit/s, a round trip of 40 ms: 100,000 bytes fit.
const LINE: Line = Line {
    rate: 20_000_000,
    delay: Duration::from_millis(20),
    queue: 150_000,
    loss: Chance::NEVER,
};

fn run(line: Line, controls: &[&str], seconds: u64) -> Vec<Flow> {
    race(1, line, controls, seconds).unwrap()
}

/// Frames that are lost at random are no sign of a full queue: BBR gets nine tenths of the rate all the same.
#[test]
fn random_loss() {
    let line = Line {
        loss: Chance::percent(1),
        ..LINE
    };
    let [bbr, newreno] = ["bbr", "newreno"].map(|control| run(line, &[control], 20)[0].rate(0, 20));
    println!("bbr {bbr}, newreno {newreno} bit/s");
    assert!(bbr >= line.rate * 9 / 10, "{bbr}");
    assert!(newreno < line.rate / 2, "{newreno}");
}

/// Where a second fits into the queue, BBR leaves it nearly empty, and CUBIC fills it.
#[test]
fn a_long_queue() {
    let line = Line {
        queue: 2_500_000,
        ..LINE
    };
    let [bbr, cubic] = ["bbr", "cubic"].map(|control| run(line, &[control], 25).remove(0));
    for flow in [&bbr, &cubic] {
        println!(
            "{} bit/s, {:?} {:?}",
            flow.rate(3, 25),
            flow.round_trip(50),
            flow.round_trip(95)
        );
    }
    assert!(bbr.rate(3, 25) >= line.rate * 9 / 10);
    assert!(bbr.round_trip(50) < Duration::from_millis(60));
    assert!(bbr.round_trip(95) < Duration::from_millis(100));
    assert!(cubic.round_trip(50) > Duration::from_millis(300));
}

/// Two flows get about the same, and together all there is.
#[test]
fn two_of_a_kind() {
    let flows = run(LINE, &["bbr", "bbr"], 40);
    let [one, two] = [0, 1].map(|n: usize| flows[n].rate(20, 40));
    println!("{one} and {two} bit/s");
    assert!(one + two >= LINE.rate * 9 / 10, "{one} {two}");
    assert!(one.min(two) * 2 >= one.max(two), "{one} {two}");
}

/// BBR beside CUBIC. It does not take losses for congestion, so where the queue is short it takes most of the line; where the queue is much
/// longer than what is under way, CUBIC fills it and BBR, which does not, is left with less. Neither is starved.
#[test]
fn beside_cubic() {
    let short = Line {
        queue: 100_000,
        ..LINE
    };
    let long = Line {
        queue: 1_000_000,
        ..LINE
    };
    let shares = |line| {
        let flows = run(line, &["bbr", "cubic"], 60);
        let [bbr, cubic] = [0, 1].map(|n: usize| flows[n].rate(20, 60));
        println!(
            "queue of {} bytes: bbr {bbr}, cubic {cubic} bit/s",
            line.queue
        );
        assert!(bbr + cubic >= line.rate * 9 / 10, "{bbr} {cubic}");
        assert!(bbr.min(cubic) >= line.rate / 50, "{bbr} {cubic}");
        (bbr, cubic)
    };
    let (bbr, cubic) = shares(short);
    assert!(bbr > cubic * 2, "{bbr} {cubic}");
    let (bbr, cubic) = shares(long);
    assert!(cubic > bbr, "{bbr} {cubic}");
}
