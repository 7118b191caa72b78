//! A spool that was damaged at random, in several places at once: bits, lengths, names, files for folders, links to
//! elsewhere. The daemon starts; what is sound arrives once; what is not is kept; and nothing outside of the spool is
//! touched.
//!
//! The cases are the same in each run. `FUZZ_SEED` and `FUZZ_CASES` ask for others.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use logsinkfs::spool::SpoolError;
use logsinkfs::types::bucket_error::Kind;

use super::check::{plain, segments};
use super::daemon::{BY, Daemon, ONCE, World, run};
use super::faulty::{Fault, Op};
use super::image::Image;

/// A line that no other log has.
fn line(n: usize) -> String {
    format!("<line {n:03}>\n")
}

/// A spool with something of everything: logs whose ranges are reclaimed, confirmed, sealed and unsealed, generations,
/// folders, a link, a local file, a log without a name.
async fn spool_of_all_kinds(world: &World) -> Image {
    let daemon = world.boot();
    let logs = ["a.log", "b.log", "dir/c.log", "dir/sub/d.log", "gone.log"].map(|p| daemon.open(p));
    let mut next = 0;
    let mut append_to_all = |daemon: &Daemon| {
        for log in logs {
            daemon.append(log, line(next));
            next += 1;
        }
    };
    append_to_all(&daemon);
    daemon.flush().await;
    // Its number is remembered in a file of its own from here on.
    daemon.truncate(logs[3]);
    append_to_all(&daemon);
    daemon.flush().await;
    daemon.reclaim_all();
    append_to_all(&daemon);
    daemon.flush().await;
    world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
    append_to_all(&daemon);
    daemon.seal_all();
    daemon.sealed().await;
    append_to_all(&daemon);
    daemon.truncate(logs[1]);
    daemon.truncate(logs[2]);
    append_to_all(&daemon);
    daemon.unlink("gone.log");
    daemon.fs.symlink(daemon.place("link").0, b"link", b"a.log", BY, ONCE).unwrap();
    let local = daemon.open("app.pid");
    let super::daemon::Answer::Now(written) = daemon.fs.write(local.handle, 0, b"<line local>\n", ONCE) else {
        panic!("a local file waits")
    };
    written.unwrap();
    let image = daemon.crash();
    world.bucket.heal();
    image
}

/// The lines in some bytes.
fn lines_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split_inclusive('\n').filter_map(|l| l.find("<line").map(|at| &l[at..]));
    lines.map(|line| line.trim_end().to_owned()).collect()
}

/// A spool's directory, with something beside it that is none of the daemon's business.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new(image: &Image) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { dir };
        fs::create_dir(place.spool()).unwrap();
        image.lay_out(&place.spool());
        fs::create_dir(place.outside()).unwrap();
        fs::write(place.outside().join("data"), "of others\n").unwrap();
        fs::write(place.outside().join("node.json"), "{}").unwrap();
        place
    }

    pub fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// All paths of the spool below its top, files and folders.
    fn paths(&self) -> Vec<PathBuf> {
        let below_top = |path: &&PathBuf| {
            path.components().count() > 1
                || path.ends_with("spool.json")
                || path.ends_with("records")
                || path.ends_with("numbers")
        };
        let image = Image::take(&self.spool());
        image.0.keys().filter(below_top).map(|path| self.spool().join(path)).collect()
    }
}

/// Does something bad to a spool; gives what it did it to.
fn damage(place: &Place, chance: &mut Rng) -> (String, Vec<PathBuf>) {
    let paths = place.paths();
    let of = |chance: &mut Rng| paths[chance.usize(..paths.len())].clone();
    let files: Vec<_> = paths.iter().filter(|path| path.is_file() && !path.is_symlink()).collect();
    let file = files[chance.usize(..files.len())].clone();
    let path = of(chance);
    let remove = |path: &Path| {
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    };
    let mut bytes = fs::read(&file).unwrap();
    let (what, touched) = match chance.u8(..13) {
        0 if !bytes.is_empty() => {
            let at = chance.usize(..bytes.len());
            bytes[at] ^= 1 << chance.u8(..8);
            fs::write(&file, bytes).unwrap();
            ("flip a bit of", vec![file])
        }
        1 => {
            bytes.truncate(chance.usize(..=bytes.len()));
            fs::write(&file, bytes).unwrap();
            ("cut", vec![file])
        }
        2 => {
            bytes.extend(std::iter::repeat_n(0, chance.usize(1..5000)));
            fs::write(&file, bytes).unwrap();
            ("extend by zeros", vec![file])
        }
        3 => {
            bytes.extend((0..chance.usize(1..500)).map(|_| chance.u8(..)));
            fs::write(&file, bytes).unwrap();
            ("extend by garbage", vec![file])
        }
        4 => {
            remove(&path);
            ("remove", vec![path])
        }
        5 => {
            let twin = file.with_file_name(format!("twin-of-{}", chance.u8(..)));
            fs::write(&twin, bytes).unwrap();
            ("duplicate", vec![twin])
        }
        6 => {
            let other = files[chance.usize(..files.len())].clone();
            fs::write(&file, fs::read(&other).unwrap()).unwrap();
            fs::write(&other, bytes).unwrap();
            ("swap", vec![file, other])
        }
        7 => {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
            fs::write(file.join("inside"), "inside").unwrap();
            ("make a folder of", vec![file])
        }
        8 => {
            remove(&path);
            fs::write(&path, "a file now").unwrap();
            ("make a file of", vec![path])
        }
        9 => {
            let names = ["odd", ".new", "a.sealed", "\n", "node.new", "data.gone", "%2f", "..."];
            let odd = file.with_file_name(chance.choice(names).unwrap());
            fs::write(&odd, "odd").unwrap();
            ("add", vec![odd])
        }
        12 => {
            remove(&path);
            let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
            rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
            ("make a pipe of", vec![path])
        }
        10 => {
            remove(&path);
            let target = if path.is_dir() || path.extension().is_none() {
                place.outside().join(chance.choice(["data", "", "missing"]).unwrap())
            } else {
                place.outside().join(chance.choice(["node.json", "missing"]).unwrap())
            };
            symlink(target, &path).unwrap();
            ("make a link of", vec![path])
        }
        _ => {
            fs::write(&file, "").unwrap();
            ("empty", vec![file])
        }
    };
    (format!("{what} {touched:?}"), touched)
}

/// What a daemon makes of a damaged spool.
async fn survive(world: &World, image: &Image, chance: &mut Rng, damages: &mut Vec<String>) {
    let place = Place::new(image);
    let mut touched = BTreeSet::new();
    for _ in 0..chance.usize(1..=6) {
        let (what, paths) = damage(&place, chance);
        damages.push(what);
        touched.extend(paths);
    }
    let outside = Image::take(&place.outside());
    let is_touched = |path: &Path| touched.iter().any(|bad| path.starts_with(bad) || bad.starts_with(path));
    // What must not be lost: the bytes of spool files that nobody damaged.
    let sound = image.files(".data").into_iter().filter(|path| !is_touched(&place.spool().join(path)));
    let lines: Vec<_> = sound.clone().flat_map(|p| lines_in(&image.0[&p].as_ref().unwrap().bytes)).collect();
    // What must arrive: those of nodes of which nobody damaged anything.
    let of_node = |path: &Path| {
        let id = path.file_name().unwrap().to_string_lossy()[..16].to_owned();
        touched.iter().any(|bad| bad.file_name().unwrap().to_string_lossy().starts_with(&id))
    };
    let records = touched.iter().any(|bad| bad.ends_with("records"));
    let whole = sound.filter(|path| !records && !of_node(path));
    let whole: Vec<_> = whole.flat_map(|p| lines_in(&image.0[&p].as_ref().unwrap().bytes)).collect();

    let Place { dir } = place;
    let daemon = match world.try_boot_in(dir, "spool") {
        Ok(daemon) => daemon,
        Err(e @ SpoolError::TooNew(..)) => {
            assert!(damages.iter().any(|what| what.contains("spool.json")), "{e}");
            return;
        }
        Err(e) => panic!("it does not start: {e}"),
    };
    daemon.flush().await;
    let after = daemon.image();
    let stored: Vec<_> = segments(world).iter().flat_map(|(_, (name, o))| lines_in(&plain(name, o))).collect();
    let kept: Vec<_> = after.0.values().filter_map(|f| f.as_ref()).flat_map(|f| lines_in(&f.bytes)).collect();
    for line in lines {
        assert!(stored.contains(&line) || kept.contains(&line), "{line} is lost");
    }
    for line in whole.iter().filter(|line| *line != "<line local>") {
        let times = stored.iter().filter(|found| *found == line).count();
        assert!(times == 1 || kept.contains(line), "{line} arrived {times} times");
    }
    assert_eq!(Image::take(&daemon.dir().join("outside")), outside, "something outside was changed");

    // What is there now is recovered as it is.
    let once = world.recover(&after).unwrap().image();
    let twice = world.recover(&once).unwrap().image();
    assert_eq!(once.without_identity(), twice.without_identity());
}

/// So many cases, or those that `FUZZ_SEED` and `FUZZ_CASES` ask for.
pub fn seeds(cases: u64) -> std::ops::Range<u64> {
    let asked = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (seed, cases) = (asked("FUZZ_SEED", 1), asked("FUZZ_CASES", cases));
    println!("FUZZ_SEED={seed} FUZZ_CASES={cases}");
    seed..seed + cases
}

#[test]
fn a_spool_that_is_damaged_at_random_loses_nothing_sound() {
    for seed in seeds(48) {
        let mut damages = Vec::new();
        let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(async {
                let world = World::new();
                let image = spool_of_all_kinds(&world).await;
                survive(&world, &image, &mut Rng::with_seed(seed), &mut damages).await;
            });
        }));
        assert!(survived.is_ok(), "FUZZ_SEED={seed} FUZZ_CASES=1: after {damages:#?}");
    }
}
