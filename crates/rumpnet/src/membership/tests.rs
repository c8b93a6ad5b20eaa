//! The rules of RFC 3376 (IGMPv3), RFC 2236 (IGMPv2) and, in the same sections' words, RFC 3810 (MLDv2) and RFC 2710 (MLDv1).

use super::{wire::pack, *};
use core::net::Ipv4Addr;
use rumpuser::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn group(n: u8) -> IpAddr {
    Ipv4Addr::new(239, 0, 0, n).into()
}

fn source(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

fn include(hosts: &[u8]) -> Filter {
    Filter {
        exclude: false,
        sources: hosts.iter().map(|host| source(*host)).collect(),
    }
}

fn exclude(hosts: &[u8]) -> Filter {
    Filter {
        exclude: true,
        ..include(hosts)
    }
}

fn record(kind: Kind, n: u8, hosts: &[u8]) -> Record {
    Record {
        kind,
        group: group(n),
        sources: hosts.iter().map(|host| source(*host)).collect(),
    }
}

fn records(all: &[Record]) -> Vec<Message> {
    Vec::from([Message::Records(all.to_vec())])
}

/// A query of the newest version.
fn query(of: Option<u8>, hosts: &[u8]) -> Query {
    Query {
        version: Version::Three,
        group: of.map(group),
        sources: hosts.iter().map(|host| source(*host)).collect(),
        response: Duration::from_secs(10),
        robustness: 2,
        interval: Some(Duration::from_secs(125)),
    }
}

/// A query of IGMPv2 or MLDv1.
fn old(of: Option<u8>) -> Query {
    Query {
        version: Version::Two,
        robustness: 0,
        interval: None,
        ..query(of, &[])
    }
}

/// All that is said until nothing is left to say but a version's end, with the times.
fn run(link: &mut Link, until: Instant) -> Vec<(Instant, Message)> {
    let mut said = Vec::new();
    while let Some(at) = link.deadline().filter(|at| *at <= until) {
        said.extend(link.clock(at).into_iter().map(|message| (at, message)));
    }
    said
}

fn at(seconds: u64) -> Instant {
    Instant(0).after(Duration::from_secs(seconds))
}

fn said(link: &mut Link, until: u64) -> Vec<Message> {
    let all = run(link, at(until)).into_iter();
    all.map(|(_, message)| message).collect()
}

/// RFC 3376 section 5.1, the table; section 8.11: once more within a second (section 8.1: twice in all).
#[test]
fn changes_are_said_and_once_more() {
    use Kind::*;
    let table = [
        (
            include(&[1, 2]),
            include(&[2, 3]),
            Vec::from([record(Allow, 1, &[3]), record(Block, 1, &[1])]),
        ),
        (
            exclude(&[1, 2]),
            exclude(&[2, 3]),
            Vec::from([record(Allow, 1, &[1]), record(Block, 1, &[3])]),
        ),
        (
            include(&[1]),
            exclude(&[2]),
            Vec::from([record(ToExclude, 1, &[2])]),
        ),
        (
            exclude(&[1]),
            include(&[2]),
            Vec::from([record(ToInclude, 1, &[2])]),
        ),
        (
            include(&[]),
            exclude(&[]),
            Vec::from([record(ToExclude, 1, &[])]),
        ),
        (
            exclude(&[]),
            include(&[]),
            Vec::from([record(ToInclude, 1, &[])]),
        ),
        (
            include(&[]),
            include(&[1]),
            Vec::from([record(Allow, 1, &[1])]),
        ),
        (
            include(&[1]),
            include(&[]),
            Vec::from([record(Block, 1, &[1])]),
        ),
    ];
    for (before, after, expected) in table {
        let mut link = Link::new(1);
        link.set(group(1), before, at(0));
        run(&mut link, at(10));
        let now = at(20);
        assert_eq!(link.set(group(1), after.clone(), now), records(&expected));
        let again = run(&mut link, at(100));
        let [(time, message)] = &again[..] else {
            panic!("{again:?}")
        };
        assert_eq!(*message, Message::Records(expected));
        assert!(time.since(now) <= SECOND);
        // The same again is no change.
        assert_eq!(link.set(group(1), after, at(200)), []);
        assert_eq!(link.deadline(), None);
    }
}

/// RFC 3376 section 5.1: a change while another is still to be said again; both are said.
#[test]
fn changes_are_merged() {
    let mut link = Link::new(2);
    let now = at(1);
    link.set(group(1), include(&[1]), now);
    let both = [record(Kind::Allow, 1, &[1, 2])];
    assert_eq!(link.set(group(1), include(&[1, 2]), now), records(&both));
    // The first source has been said twice.
    assert_eq!(
        said(&mut link, 100),
        records(&[record(Kind::Allow, 1, &[2])])
    );
    // A new mode says it all; so does a change of sources after it, as often.
    link.set(group(1), exclude(&[]), at(200));
    let all = [record(Kind::ToExclude, 1, &[3])];
    assert_eq!(link.set(group(1), exclude(&[3]), at(200)), records(&all));
    assert_eq!(said(&mut link, 300), records(&all));
    // Left and joined again at once.
    link.set(group(1), include(&[]), at(400));
    link.set(group(1), exclude(&[]), at(400));
    assert_eq!(
        said(&mut link, 500),
        records(&[record(Kind::ToExclude, 1, &[])])
    );
}

/// RFC 3376 section 4.1.6: a router says how often.
#[test]
fn robustness_is_the_routers() {
    let mut link = Link::new(3);
    link.query(
        &Query {
            robustness: 5,
            ..query(None, &[])
        },
        at(0),
    );
    run(&mut link, at(20));
    link.set(group(1), exclude(&[]), at(20));
    assert_eq!(said(&mut link, 100).len(), 4);
    link.query(
        &Query {
            robustness: 0,
            ..query(None, &[])
        },
        at(200),
    );
    run(&mut link, at(220));
    link.set(group(1), include(&[]), at(220));
    assert_eq!(said(&mut link, 300).len(), 1);
}

/// RFC 3376 section 5.2: the answer to a general query, within the time that it leaves.
#[test]
fn a_general_query() {
    let mut link = Link::new(4);
    link.set(group(1), exclude(&[1]), at(0));
    link.set(group(2), include(&[2]), at(0));
    link.set(group(3), exclude(&[]), at(0));
    run(&mut link, at(5));
    link.set(group(3), include(&[]), at(5));
    run(&mut link, at(10));
    link.query(&query(None, &[]), at(10));
    let answers = run(&mut link, at(100));
    let [(time, message)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert!(time.since(at(10)) < Duration::from_secs(10));
    let expected = [
        record(Kind::IsExclude, 1, &[1]),
        record(Kind::IsInclude, 2, &[2]),
    ];
    assert_eq!(*message, Message::Records(expected.to_vec()));
    // Rule 1: one that is planned sooner is the answer to the next query as well.
    link.query(
        &Query {
            response: Duration::ZERO,
            ..query(None, &[])
        },
        at(200),
    );
    link.query(&query(None, &[]), at(200));
    link.query(&query(Some(1), &[]), at(200));
    assert_eq!(said(&mut link, 300).len(), 1);
}

/// RFC 3376 section 5.2: what is answered to a query for a group, and for sources of it.
#[test]
fn specific_queries() {
    use Kind::{IsExclude, IsInclude};
    let mut link = Link::new(5);
    link.set(group(1), include(&[1, 2]), at(0));
    link.set(group(2), exclude(&[1, 2]), at(0));
    run(&mut link, at(5));
    let mut now = 10;
    let mut ask = |queries: &[Query]| {
        now += 100;
        queries.iter().for_each(|query| link.query(query, at(now)));
        said(&mut link, now + 50)
    };
    assert_eq!(
        ask(&[query(Some(1), &[])]),
        records(&[record(IsInclude, 1, &[1, 2])])
    );
    assert_eq!(
        ask(&[query(Some(2), &[])]),
        records(&[record(IsExclude, 2, &[1, 2])])
    );
    assert_eq!(ask(&[query(Some(3), &[])]), []);
    // INCLUDE (A), asked for B: A*B. EXCLUDE (A): B-A. Nothing is said of no source.
    assert_eq!(
        ask(&[query(Some(1), &[2, 3])]),
        records(&[record(IsInclude, 1, &[2])])
    );
    assert_eq!(
        ask(&[query(Some(2), &[2, 3])]),
        records(&[record(IsInclude, 2, &[3])])
    );
    assert_eq!(ask(&[query(Some(1), &[3])]), []);
    assert_eq!(ask(&[query(Some(2), &[1, 2])]), []);
    // Rules 4 and 5: lists come together; all sources swallow a list.
    let lists = [query(Some(1), &[1, 3]), query(Some(1), &[2])];
    assert_eq!(ask(&lists), records(&[record(IsInclude, 1, &[1, 2])]));
    let all = [query(Some(2), &[1, 3]), query(Some(2), &[])];
    assert_eq!(ask(&all), records(&[record(IsExclude, 2, &[1, 2])]));
    // A flood of sources is bounded: it is answered with all.
    let flood: Vec<Query> = (0..=255_u8)
        .flat_map(|high| (0..2).map(move |low| (high, low)))
        .map(|(high, low)| Query {
            sources: BTreeSet::from([Ipv4Addr::new(10, 1, high, low).into()]),
            ..query(Some(1), &[])
        })
        .collect();
    let answer = ask(&flood);
    assert!(answer.is_empty() || answer == records(&[record(IsInclude, 1, &[1, 2])]));
}

/// RFC 2236 section 3; RFC 3376 section 7.2.1: with a router of the second version that version is spoken.
#[test]
fn the_second_version() {
    let mut link = Link::new(6);
    link.set(group(1), exclude(&[]), at(0));
    // What was to be said in the newest version is not.
    link.query(&old(None), at(0));
    assert_eq!(link.version(), Version::Two);
    let answers = run(&mut link, at(50));
    let [(time, message)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert!(time.since(at(0)) < Duration::from_secs(10));
    assert_eq!(*message, Message::Report(Version::Two, group(1)));
    // Joining is reported at once and within ten seconds again; sources are nobody's business.
    let report = Vec::from([Message::Report(Version::Two, group(2))]);
    assert_eq!(link.set(group(2), exclude(&[]), at(50)), report);
    assert_eq!(said(&mut link, 60), report);
    assert_eq!(link.set(group(2), exclude(&[1]), at(60)), []);
    // Who reported last says that nobody listens any more.
    let leave = Vec::from([Message::Leave(group(2))]);
    assert_eq!(link.set(group(2), include(&[]), at(61)), leave);
    // Another host's report is enough.
    link.query(&old(Some(1)), at(62));
    link.heard(group(1));
    assert_eq!(said(&mut link, 80), []);
    assert_eq!(link.set(group(1), include(&[]), at(80)), []);
    assert_eq!(link.set(group(1), exclude(&[]), at(80)).len(), 1);
    run(&mut link, at(100));
    // The shorter of two times counts.
    link.query(
        &Query {
            response: SECOND,
            ..old(Some(1))
        },
        at(100),
    );
    link.query(&old(None), at(100));
    let answers = run(&mut link, at(120));
    assert!(answers.len() == 1 && answers[0].0.since(at(100)) < SECOND);
    // RFC 3376 section 8.12: 2 * 125 s + 10 s after its last word the router is gone.
    run(&mut link, at(100 + 259));
    assert_eq!(link.version(), Version::Two);
    assert_eq!(said(&mut link, 100 + 261), []);
    assert_eq!(link.version(), Version::Three);
    let records = records(&[record(Kind::ToInclude, 1, &[])]);
    assert_eq!(link.set(group(1), include(&[]), at(400)), records);
}

/// RFC 1112 appendix I, RFC 2236 section 4: the first version knows no leaving and no times; the oldest router counts.
#[test]
fn the_first_version() {
    let mut link = Link::new(7);
    link.set(group(1), exclude(&[]), at(0));
    run(&mut link, at(5));
    let first = Query {
        version: Version::One,
        response: Duration::ZERO,
        ..old(None)
    };
    link.query(&old(None), at(10));
    link.query(&first, at(10));
    assert_eq!(link.version(), Version::One);
    let answers = run(&mut link, at(100));
    let report = Message::Report(Version::One, group(1));
    assert!(
        matches!(&answers[..], [(time, said)] if *said == report && time.since(at(10)) < 10 * SECOND)
    );
    // A query of the newest version is answered in the first.
    link.query(&query(None, &[]), at(100));
    assert_eq!(said(&mut link, 120), [report]);
    assert_eq!(link.set(group(1), include(&[]), at(120)), []);
}

/// RFC 3376 section 4.2.16.
#[test]
fn long_reports_are_parted() {
    use Kind::*;
    let many: Vec<u8> = (0..10).collect();
    // Room for two records without sources, or one with three.
    let packed = pack(
        Vec::from([
            record(ToExclude, 1, &many),
            record(Allow, 2, &many[..7]),
            record(IsExclude, 3, &[]),
            record(IsInclude, 4, &[1]),
        ]),
        20,
    );
    assert_eq!(
        packed,
        [
            Vec::from([record(ToExclude, 1, &many[..3])]),
            Vec::from([record(Allow, 2, &many[..3])]),
            Vec::from([record(Allow, 2, &many[3..6])]),
            Vec::from([record(Allow, 2, &many[6..7]), record(IsExclude, 3, &[])]),
            Vec::from([record(IsInclude, 4, &[1])]),
        ]
    );
}

/// Whatever is asked and changed, it ends, and nothing is left of groups that nobody listens to.
#[test]
fn any_order_of_events() {
    use rumpuser::rng::Rng;
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let mut link = Link::new(seed);
        let mut now = at(0);
        for _ in 0..60 {
            now = now.after(Duration::from_millis(rng.below(20_000)));
            let mut pick = |most: u64| u8::try_from(rng.below(most)).unwrap();
            match pick(6) {
                0 | 1 => {
                    let hosts: Vec<u8> = (0..pick(4)).collect();
                    let filter = Filter {
                        exclude: pick(2) == 0,
                        ..include(&hosts)
                    };
                    link.set(group(pick(3)), filter, now);
                }
                2 => link.query(&query(Some(pick(3)), &[pick(3)]), now),
                3 => link.query(&old(Some(pick(3)).filter(|n| *n > 0)), now),
                4 => link.heard(group(pick(3))),
                _ => {
                    run(&mut link, now);
                }
            }
        }
        (0..3).for_each(|n| {
            link.set(group(n), include(&[]), now);
        });
        run(&mut link, now.after(Duration::from_secs(1_000)));
        assert_eq!(
            (link.deadline(), link.version()),
            (None, Version::Three),
            "{seed}"
        );
        assert_eq!(link.known(), 0, "{seed}");
    }
}
