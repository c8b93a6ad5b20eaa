//! Breaks images and uses them: `hostile FS CASES SEED [IMAGE[:CASE]]`, what `cargo xtask hostile` starts.
//!
//! Two worker processes do it, so that a hang, a stack overflow or memory without end is seen and survived; IMAGE takes one image
//! only, IMAGE:CASE repeats one case in this process and tells what was changed.

use rump_tests::{
    hostile::{self, CLOCK_MAX, Format, Map, Outcome, Stopwatch, TIME_MAX, corrupt, format},
    memory::{self, Counting},
};
use rumpuser_sim::{MemDisk, Rng};
use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

#[global_allocator]
static MEMORY: Counting = Counting;

const WORKERS: u64 = 2;
/// Changes of one case at most.
const CHANGES_MAX: u64 = 6;
/// Processor time of a case: all parts, and making the image.
const CASE_MAX: Duration = Duration::from_secs(2 * TIME_MAX.as_secs() + 5);
/// That of loading an image, of which the clock alone tells.
const LOAD_MAX: Duration = CLOCK_MAX;
/// How often a worker is looked at that says nothing.
const LOOK: Duration = Duration::from_secs(1);

struct Arguments {
    format: &'static dyn Format,
    images: Vec<String>,
    /// Of each image.
    cases: u64,
    seed: u64,
    /// Only this one.
    case: Option<u64>,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let worker = arguments.first().is_some_and(|first| first == "worker");
    if worker {
        arguments.remove(0);
    }
    // worker IMAGE FIRST STEP FS CASES SEED [IMAGE]
    let rest = if worker {
        arguments.split_off(3)
    } else {
        std::mem::take(&mut arguments)
    };
    let parsed = match parse(&rest) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("hostile: {error}");
            return ExitCode::from(2);
        }
    };
    if worker {
        let number = |n: usize| arguments[n].parse::<usize>().expect("a number");
        work(&parsed, number(0), number(1) as u64, number(2));
        return ExitCode::SUCCESS;
    }
    match parsed.case {
        Some(case) => repeat(&parsed, case),
        None => explore(&parsed, &rest),
    }
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let [name, cases, seed, rest @ ..] = arguments else {
        return Err("usage: hostile FS CASES SEED [IMAGE[:CASE]]".into());
    };
    let format = format(name).ok_or_else(|| format!("no images of a file system {name}"))?;
    let (Ok(cases), Ok(seed)) = (cases.parse::<u64>(), seed.parse()) else {
        return Err("CASES and SEED are numbers".into());
    };
    let (image, case) = match rest {
        [] => (None, None),
        [only] => match only.split_once(':') {
            Some((image, case)) => {
                let case = case.parse().map_err(|_| "CASE is a number")?;
                (Some(image), Some(case))
            }
            None => (Some(only.as_str()), None),
        },
        _ => return Err("one IMAGE".into()),
    };
    let mut images = format.images();
    if let Some(image) = image {
        images.retain(|name| name == image);
        if images.is_empty() {
            return Err(format!("no image {image}"));
        }
    }
    Ok(Arguments {
        cases: cases.div_ceil(images.len() as u64),
        format,
        images,
        seed,
        case,
    })
}

/// The generator of a case: seed, image and number decide all.
fn generator(seed: u64, image: &str, case: u64) -> Rng {
    let mut mixed = seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in image.bytes() {
        mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    Rng::new(mixed)
}

fn broken(
    arguments: &Arguments,
    good: &MemDisk,
    map: &Map,
    image: &str,
    case: u64,
) -> (MemDisk, Vec<hostile::Done>, Rng) {
    let mut rng = generator(arguments.seed, image, case);
    // Mostly few changes: the first wrong field ends many a mount.
    let most = 1 + rng.below(CHANGES_MAX);
    let (bad, done) = corrupt(good, map, most, &mut rng);
    (bad, done, rng)
}

fn repeat(arguments: &Arguments, case: u64) -> ExitCode {
    hostile::watch_panics();
    let image = &arguments.images[0];
    let good = arguments.format.load(image);
    let map = arguments.format.map(&good);
    let (bad, done, mut rng) = broken(arguments, &good, &map, image, case);
    for change in done {
        println!("{change}");
    }
    if let Ok(file) = env::var("HOSTILE_SAVE") {
        std::fs::write(&file, bad.to_bytes()).expect("HOSTILE_SAVE can be written");
    }
    let watch = Stopwatch::start();
    let result = hostile::run(arguments.format.fs_type(), &bad, &mut rng);
    println!(
        "{:?}, peak {} KiB: {result:?}",
        watch.cpu(),
        memory::peak() >> 10
    );
    if result.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A worker: the cases of every image from `first` on in steps. Each is announced, and its end told.
fn work(arguments: &Arguments, first_image: usize, first: u64, step: usize) {
    hostile::watch_panics();
    let mut first = first;
    for (index, image) in arguments.images.iter().enumerate().skip(first_image) {
        println!("load {index}");
        let good = arguments.format.load(image);
        let map = arguments.format.map(&good);
        for case in (first..arguments.cases).step_by(step) {
            println!("case {index} {case}");
            let _ = std::io::stdout().flush();
            let (bad, _, mut rng) = broken(arguments, &good, &map, image, case);
            let (watch, held) = (Stopwatch::start(), memory::held());
            memory::reset_peak();
            let result = hostile::run(arguments.format.fs_type(), &bad, &mut rng);
            let (took, used) = (
                watch.cpu().as_millis(),
                (memory::peak() - held.min(memory::peak())) >> 10,
            );
            match result {
                Ok(Outcome {
                    read,
                    written,
                    entries,
                    succeeded,
                    failed,
                }) => {
                    println!(
                        "good {took} {used} {} {} {entries} {succeeded} {failed}",
                        u8::from(read),
                        u8::from(written)
                    );
                }
                Err(error) => println!("bad {}", error.replace('\n', " ")),
            }
        }
        first %= step as u64;
    }
    println!("end");
}

#[derive(Debug, Default)]
struct Totals {
    cases: u64,
    read: u64,
    written: u64,
    succeeded: u64,
    failed: u64,
    longest: (u64, String),
    largest: (u64, String),
    /// Findings by what they say, with the cases.
    findings: BTreeMap<String, Vec<String>>,
}

fn explore(arguments: &Arguments, rest: &[String]) -> ExitCode {
    let begin = Instant::now();
    let totals = Mutex::new(Totals::default());
    println!(
        "{} images, {} cases each, seed {}",
        arguments.images.len(),
        arguments.cases,
        arguments.seed
    );
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let totals = &totals;
            scope.spawn(move || supervise(arguments, rest, worker, totals));
        }
    });
    let totals = totals.into_inner().expect("no panic");
    for (finding, cases) in &totals.findings {
        println!("FINDING in {} cases, {}: {finding}", cases.len(), cases[0]);
    }
    println!(
        "{} corruptions in {:.0} s: {} mounted for reading, {} for writing; {} calls succeeded, {} failed",
        totals.cases,
        begin.elapsed().as_secs_f64(),
        totals.read,
        totals.written,
        totals.succeeded,
        totals.failed
    );
    println!(
        "longest {} ms ({}), most memory {} KiB ({}), {} findings",
        totals.longest.0,
        totals.longest.1,
        totals.largest.0,
        totals.largest.1,
        totals.findings.values().map(Vec::len).sum::<usize>()
    );
    if totals.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn start(rest: &[String], image: usize, case: u64) -> Child {
    let program = env::current_exe().expect("this program");
    Command::new(program)
        .arg("worker")
        .args([image.to_string(), case.to_string(), WORKERS.to_string()])
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a worker starts")
}

/// Keeps a worker going: one that hangs or dies is replaced and goes on with the next case.
fn supervise(arguments: &Arguments, rest: &[String], worker: u64, totals: &Mutex<Totals>) {
    let (mut image, mut case) = (0, worker);
    loop {
        let mut child = start(rest, image, case);
        let output = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        let (mut watch, mut cpu_max) = (Stopwatch::start_of(child.id()), LOAD_MAX);
        let problem = loop {
            let line = match lines.recv_timeout(LOOK) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => match watch.over(cpu_max) {
                    Some(late) => break Some(format!("nothing for {late}")),
                    None => continue,
                },
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    break Some("the process died".to_owned());
                }
            };
            watch = Stopwatch::start_of(child.id());
            let words: Vec<&str> = line.split(' ').collect();
            let number = |n: usize| words[n].parse::<u64>().expect("a number");
            match words[0] {
                "load" => cpu_max = LOAD_MAX,
                "case" => {
                    (image, case) = (number(1) as usize, number(2));
                    cpu_max = CASE_MAX;
                }
                "good" => {
                    totals
                        .lock()
                        .expect("no panic")
                        .good(arguments, (image, case), &words[1..])
                }
                "bad" => totals
                    .lock()
                    .expect("no panic")
                    .bad(arguments, (image, case), &line[4..]),
                "end" => break None,
                _ => {}
            }
        };
        let _ = child.kill();
        let status = child.wait().expect("it has ended");
        let _ = reader.join();
        let Some(problem) = problem else { break };
        let text = format!("{problem} ({status})");
        totals
            .lock()
            .expect("no panic")
            .bad(arguments, (image, case), &text);
        case += WORKERS;
    }
}

impl Totals {
    fn good(&mut self, arguments: &Arguments, case: (usize, u64), words: &[&str]) {
        let numbers: Vec<u64> = words
            .iter()
            .map(|word| word.parse().expect("a number"))
            .collect();
        let [took, used, read, written, _, succeeded, failed] = numbers[..] else {
            panic!("a worker said {words:?}")
        };
        self.cases += 1;
        self.read += read;
        self.written += written;
        self.succeeded += succeeded;
        self.failed += failed;
        let name = || format!("{}:{}", arguments.images[case.0], case.1);
        if took > self.longest.0 {
            self.longest = (took, name());
        }
        if used > self.largest.0 {
            self.largest = (used, name());
        }
    }

    fn bad(&mut self, arguments: &Arguments, case: (usize, u64), text: &str) {
        self.cases += 1;
        let name = format!("{}:{}", arguments.images[case.0], case.1);
        println!("{name}: {text}");
        self.findings.entry(text.to_owned()).or_default().push(name);
    }
}
