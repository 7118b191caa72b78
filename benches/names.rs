//! What operations on names cost: a message of the kernel and its answer alone, for comparison; create + write + close,
//! the same with a log that begins anew, rename, unlink of the last name (of a log with a line, and of an empty one),
//! mkdir, and rename in a folder of many names. On a mount and in a folder of the spool's own file system, in turns
//! within one run. Prints operations a second and their ratio.
//!
//! `cargo bench --bench names -- --rounds 5 --count 500 --many 4000`
//!
//! Before each operation the mount has come to rest, so that what one leaves to be sealed and sent is not measured with
//! the next.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Bucket, Process, Spread, argument};

/// What is measured, in the order in which it is done.
const OPERATIONS: [&str; 8] = [
    "an attribute that is not there: a message and its answer alone",
    "create, write a line, close",
    "open with O_TRUNC and O_APPEND, write a line, close",
    "rename",
    "unlink of a log with a line",
    "unlink of an empty log",
    "mkdir",
    "rename in a folder of many names",
];

/// Operations a second, in the order of [`OPERATIONS`].
type Rates = [f64; OPERATIONS.len()];

fn main() {
    let (rounds, count, many) = (argument("rounds", 5), argument("count", 500), argument("many", 4000));
    let scratch = common::scratch();
    let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
    let bucket = Bucket::start(&dir("bucket"));
    let mount = bucket.mount(&dir("mount"), &dir("spool"), &[]);
    fs::create_dir(dir("plain")).unwrap();
    let targets = [dir("plain"), dir("mount")];
    for target in &targets {
        fs::create_dir(target.join("many")).unwrap();
        (0..many).for_each(|n| drop(File::create(target.join(format!("many/{n}"))).unwrap()));
    }
    let mut measured: Vec<[Rates; 2]> = Vec::new();
    for round in 0..=rounds {
        let mut rates = [Rates::default(); 2];
        for turn in 0..2 {
            let at = (turn + round) % 2;
            rates[at] = measure(&targets[at], round, count, || rest(&mount));
        }
        // The first round warms up.
        if round > 0 {
            measured.push(rates);
        }
    }
    println!("{count} of each, {rounds} rounds, {many} names in the folder of many; median (min-max)");
    println!("| | plain, a second | mount, a second | of plain |");
    println!("|---|---|---|---|");
    for (n, operation) in OPERATIONS.iter().enumerate() {
        let spread = |of: &dyn Fn(&[Rates; 2]) -> f64| Spread::of(measured.iter().map(of));
        println!(
            "| {operation} | {} | {} | {} |",
            spread(&|[plain, _]| plain[n]),
            spread(&|[_, mount]| mount[n]),
            spread(&|[plain, mount]| mount[n] / plain[n]),
        );
    }
}

/// Waits until the daemon has done nothing for a moment, 30 s at most.
fn rest(mount: &Process) {
    let end = Instant::now() + Duration::from_secs(30);
    let mut before = mount.cpu();
    loop {
        std::thread::sleep(Duration::from_millis(700));
        let now = mount.cpu();
        if now <= before + 0.01 || Instant::now() > end {
            return;
        }
        before = now;
    }
}

fn measure(target: &Path, round: usize, count: usize, rest: impl Fn()) -> Rates {
    let folder = target.join(format!("round-{round}"));
    fs::create_dir(&folder).unwrap();
    let path = |name: &str, n: usize| folder.join(format!("{name}-{n}"));
    let message = a_second(&rest, count, |_| {
        let mut value = [0; 8];
        rustix::fs::getxattr(&folder, "user.no", &mut value[..]).unwrap_err();
    });
    let create = a_second(&rest, count, |n| {
        let mut file = File::options().create(true).append(true).open(path("log", n)).unwrap();
        file.write_all(b"a line of a log\n").unwrap();
    });
    let again = a_second(&rest, count, |_| {
        let mut file = File::from(open_anew(&path("log", 0)));
        file.write_all(b"a line of a log\n").unwrap();
    });
    let rename = a_second(&rest, count, |n| fs::rename(path("log", n), path("old", n)).unwrap());
    let unlink = a_second(&rest, count, |n| fs::remove_file(path("old", n)).unwrap());
    (0..count).for_each(|n| drop(File::create(path("empty", n)).unwrap()));
    let unlink_empty = a_second(&rest, count, |n| fs::remove_file(path("empty", n)).unwrap());
    let mkdir = a_second(&rest, count, |n| fs::create_dir(path("folder", n)).unwrap());
    // Made just now, as in the small folder: a name that was not used for a second is looked up first.
    let one_of_many = |name: &str, n: usize| target.join(format!("many/{name}-{round}-{n}"));
    (0..count).for_each(|n| drop(File::create(one_of_many("log", n)).unwrap()));
    let rename_many = a_second(&rest, count, |n| {
        fs::rename(one_of_many("log", n), one_of_many("old", n)).unwrap();
    });
    (0..count).for_each(|n| fs::remove_file(one_of_many("old", n)).unwrap());
    [message, create, again, rename, unlink, unlink_empty, mkdir, rename_many]
}

/// What std does not offer: a log that begins anew, and is appended to.
fn open_anew(path: &Path) -> std::os::fd::OwnedFd {
    use rustix::fs::{Mode, OFlags, open};
    open(path, OFlags::WRONLY | OFlags::APPEND | OFlags::TRUNC, Mode::empty()).unwrap()
}

/// Does something so many times, when the mount has come to rest; gives how often a second.
fn a_second(rest: &impl Fn(), count: usize, mut act: impl FnMut(usize)) -> f64 {
    rest();
    let begin = Instant::now();
    (0..count).for_each(&mut act);
    count as f64 / begin.elapsed().as_secs_f64()
}
