//! What a hostile neighbour on the same mount takes from a program that writes a log: one program makes names and
//! attributes, holds files open, floods the spool, truncates and renames as fast as it can, within a first-level folder
//! of its own; another appends a line each millisecond in another folder, by the kernel and through the daemon. Prints
//! the appends' latencies alone, beside that program on a plain folder (what the machine's cores cost) and beside it on
//! the mount; what was dropped; the memory.
//!
//! `cargo bench --bench neighbour -- --seconds 300`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{Bucket, Latencies, argument};
use rustix::fs::XattrFlags;

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--hostile").skip(1);
    if let Some(dir) = args.next() {
        return hostile(Path::new(&dir));
    }
    let time = Duration::from_secs(argument("seconds", 300) as u64);
    let scratch = common::scratch();
    let dir = |name: &str| scratch.path().canonicalize().unwrap().join(name);
    let bucket = Bucket::start(&dir("bucket"));
    let mount = bucket.mount(&dir("mount"), &dir("spool"), &["--spool-max", "1GiB"]);
    fs::create_dir_all(dir("mount/quiet")).unwrap();
    fs::create_dir_all(dir("mount/hog")).unwrap();
    fs::create_dir_all(dir("plain")).unwrap();
    let mut logs = [true, false].map(|append| {
        let name = if append { "kernel.log" } else { "daemon.log" };
        let path = dir("mount/quiet").join(name);
        (File::options().create(true).write(true).append(append).open(&path).unwrap(), path)
    });
    let mut lines = 0;
    println!(
        "| a neighbour | append by the kernel, p50, p99, p99.9 us | through the daemon | worker and keeper, peak MiB |"
    );
    println!("|---|---|---|---|");
    for (what, at) in
        [("none", None), ("on a plain folder", Some(dir("plain"))), ("on the mount", Some(dir("mount/hog")))]
    {
        mount.reset_peak();
        let neighbour = at.map(|at| Neighbour::start(&at));
        let is_measured = what == "on the mount";
        let time = if is_measured { time } else { time.min(Duration::from_secs(60)) };
        let [kernel, daemon] = append(&mut logs, time, &mut lines);
        drop(neighbour);
        let part = |of: &Latencies| [0.5, 0.99, 0.999].map(|p| format!("{:.1}", of.part(p))).join(", ");
        let peak = mount.memory("VmHWM") / 1024;
        println!("| {what} | {} | {} | {peak} |", part(&kernel), part(&daemon));
    }
    for (_, path) in &logs {
        let own = |name: &str| {
            let mut value = [0; 32];
            let name = format!("user.logsinkfs.{name}");
            let len = rustix::fs::getxattr(path, name.as_str(), &mut value[..]).unwrap();
            String::from_utf8(value[..len].to_vec()).unwrap()
        };
        println!("{}: {lines} lines, dropped {} bytes", path.display(), own("dropped"));
        assert_eq!(own("dropped"), "0");
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), lines);
    }
}

/// Appends a line to each log, a millisecond between.
fn append(logs: &mut [(File, PathBuf); 2], time: Duration, lines: &mut usize) -> [Latencies; 2] {
    let mut took = [Latencies::default(), Latencies::default()];
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
        let line = format!("line {lines:07} {}\n", "x".repeat(180));
        for ((file, _), took) in logs.iter_mut().zip(&mut took) {
            let begin = Instant::now();
            file.write_all(line.as_bytes()).unwrap();
            took.add(begin.elapsed());
        }
        *lines += 1;
    }
    took
}

/// The hostile program, in a process of its own, ended when dropped.
struct Neighbour(Child);

impl Neighbour {
    fn start(dir: &Path) -> Neighbour {
        let own = std::env::current_exe().unwrap();
        Neighbour(Command::new(own).arg("--hostile").arg(dir).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does what a mount has budgets for, as fast as it can, whatever is answered.
fn hostile(dir: &Path) {
    let at = |name: String| dir.join(name);
    let tries = |name: &'static str, mut act: Box<dyn FnMut(usize) + Send>| {
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                for n in 0.. {
                    act(n);
                }
            })
            .unwrap()
    };
    let (names, attributes, open, flood, renames) =
        (dir.to_owned(), dir.to_owned(), dir.to_owned(), dir.to_owned(), dir.to_owned());
    fs::write(at("attributes".into()), "").unwrap();
    fs::write(at("renamed-0".into()), "a line\n").unwrap();
    let threads = [
        tries("names", Box::new(move |n| drop(File::create(names.join(format!("{n:0200}")))))),
        tries(
            "attributes",
            Box::new(move |n| {
                let (path, name) = (attributes.join("attributes"), format!("user.{}", n % 10_000));
                let _ = rustix::fs::setxattr(&path, name.as_str(), &[b'x'; 1000], XattrFlags::empty());
            }),
        ),
        tries("open", {
            let mut held = Vec::new();
            Box::new(move |n| {
                let options = File::options().create(true).append(true).to_owned();
                match options.open(open.join(format!("open-{}", n % 1000))) {
                    Ok(file) => held.push(file),
                    Err(_) => held.truncate(held.len() / 2),
                }
            })
        }),
        tries(
            "flood",
            Box::new(move |n| {
                let path = flood.join(format!("flood-{}", n % 150));
                let file = File::options().create(true).append(true).open(path);
                let _ = file.and_then(|mut file| {
                    // A plain folder has no budget but the disk.
                    if file.metadata()?.len() > 64 << 20 {
                        file.set_len(0)?;
                    }
                    file.write_all(&[b'f'; 1 << 20])
                });
            }),
        ),
        tries(
            "renames",
            Box::new(move |n| {
                let [from, to] = [n, n + 1].map(|n| renames.join(format!("renamed-{}", n % 100)));
                let _ = fs::rename(&from, &to).and_then(|()| fs::write(&to, "another\n"));
            }),
        ),
    ];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
