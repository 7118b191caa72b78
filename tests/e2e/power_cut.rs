//! The machine loses power again and again, under programs that append, sync, truncate, rename and make logs. All that
//! fsync covered is there afterwards, once; nothing is glued to a line that lost its end; no range is stored twice.
//! `CUTS=100` looks for what is rare, `POWER_SEED` plays a row of cuts again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fastrand::Rng;

use test_harness::mount::{Plan, quarantined};
use test_harness::power::PowerDisk;
use test_harness::process::Proc;
use test_harness::{Bucket, Ledger, Mount, Rig, eventually};

/// A log as the last fsync left it.
struct Synced {
    /// The names that it may have had since.
    paths: Vec<PathBuf>,
    /// What was in it.
    text: String,
}

/// What the programs know, which they do not keep on the disk that loses power.
#[derive(Default)]
struct Known {
    lines: Ledger,
    synced: BTreeMap<String, Synced>,
}

/// A program that writes one log until the power goes.
struct Program<'a> {
    name: String,
    disk: &'a PowerDisk,
    known: &'a Mutex<Known>,
    file: File,
    path: PathBuf,
    /// The lines since the last fsync.
    fresh: Vec<String>,
    /// What is in the file.
    text: String,
    written: usize,
}

impl<'a> Program<'a> {
    fn new(name: &str, path: PathBuf, disk: &'a PowerDisk, known: &'a Mutex<Known>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        // It may have lines of the time before the last cut.
        let text = fs::read_to_string(&path).unwrap_or_default();
        let (name, fresh) = (name.to_owned(), Vec::new());
        Ok(Self { name, disk, known, file, path, fresh, text, written: 0 })
    }

    fn write(&mut self) -> io::Result<()> {
        self.written += 1;
        let line = format!("{} {:06} {}", self.name, self.written, "x".repeat(self.written % 190));
        self.known.lock().unwrap().lines.maybe(&line);
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.text.push_str(&format!("{line}\n"));
        self.fresh.push(line);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        // An fsync that returns now returned before the power went.
        if self.disk.is_off() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut known = self.known.lock().unwrap();
        self.fresh.drain(..).for_each(|line| known.lines.ok(&line));
        let synced = Synced { paths: vec![self.path.clone()], text: self.text.clone() };
        known.synced.insert(self.name.clone(), synced);
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        self.forget();
        self.file.set_len(0)?;
        self.text.clear();
        Ok(())
    }

    fn rename(&mut self, to: &Path) -> io::Result<()> {
        if let Some(synced) = self.known.lock().unwrap().synced.get_mut(&self.name) {
            synced.paths.push(to.to_owned());
        }
        fs::rename(&self.path, to)?;
        self.path = to.to_owned();
        Ok(())
    }

    /// From here on the file need not be what it was at the last fsync.
    fn forget(&self) {
        self.known.lock().unwrap().synced.remove(&self.name);
    }
}

/// A row of cuts under programs.
struct Rounds<'a> {
    mount: &'a Mount,
    disk: &'a PowerDisk,
    known: &'a Mutex<Known>,
    round: usize,
}

impl<'a> Rounds<'a> {
    fn program(&self, name: &str, path: &str) -> io::Result<Program<'a>> {
        let name = format!("{name}{}", self.round);
        Program::new(&name, self.mount.path(path), self.disk, self.known)
    }

    /// One syncs what it writes, one beside it never does.
    fn appenders(&self) -> io::Result<()> {
        let mut careful = self.program("careful", "careful.log")?;
        let mut careless = self.program("careless", "careless.log")?;
        loop {
            for _ in 0..7 {
                careful.write()?;
                careless.write()?;
            }
            careful.sync()?;
        }
    }

    /// Starts its log again and again.
    fn truncater(&self) -> io::Result<()> {
        let mut log = self.program("truncater", "truncated.log")?;
        loop {
            for n in 0..20 {
                log.write()?;
                if n % 9 == 8 {
                    log.sync()?;
                }
            }
            log.truncate()?;
        }
    }

    /// Moves its log away, over the one before, and begins another.
    fn renamer(&self) -> io::Result<()> {
        let old = self.mount.path("renamed.log.old");
        for n in 0.. {
            let mut log = self.program(&format!("renamer{n}-"), "renamed.log")?;
            for n in 0..12 {
                log.write()?;
                if n % 5 == 4 {
                    log.sync()?;
                }
            }
            self.replaced("renamer");
            log.rename(&old)?;
            log.write()?;
            if n % 2 == 0 {
                log.sync()?;
            }
        }
        Ok(())
    }

    /// What was renamed before is gone from here on.
    fn replaced(&self, name: &str) {
        let mut known = self.known.lock().unwrap();
        let old = self.mount.path("renamed.log.old");
        known.synced.retain(|program, synced| !program.starts_with(name) || !synced.paths.contains(&old));
    }

    /// Makes logs in new folders, and takes each third away.
    fn maker(&self) -> io::Result<()> {
        for n in 0.. {
            let folder = format!("made/{}/{n}", self.round);
            fs::create_dir_all(self.mount.path(&folder))?;
            let mut log = self.program(&format!("maker{n}-"), &format!("{folder}/app.log"))?;
            log.write()?;
            log.write()?;
            log.sync()?;
            log.write()?;
            if n % 3 == 0 {
                log.forget();
                fs::remove_file(&log.path)?;
                log.write()?;
            }
        }
        Ok(())
    }

    /// Has the programs run until the power goes.
    fn play(&self) {
        let programs = [Self::appenders, Self::truncater, Self::renamer, Self::maker];
        std::thread::scope(|scope| {
            for program in programs {
                scope.spawn(move || {
                    let error = program(self).unwrap_err();
                    assert!(self.disk.is_off(), "a program failed with power on: {error}");
                });
            }
        });
    }

    /// What fsync covered has its name, and is in the file unless a line lost its end there, with which the file begins
    /// anew.
    fn assert_kept(&self) {
        let mut known = self.known.lock().unwrap();
        for (program, Synced { paths, text }) in &known.synced {
            let found: Vec<_> = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
            let kept = |bytes: &Vec<u8>| bytes.is_empty() || bytes.starts_with(text.as_bytes());
            let kept = found.iter().any(kept);
            let found: Vec<_> = found.iter().map(|b| String::from_utf8_lossy(b)).collect();
            assert!(kept, "{program} synced {text:?}\nin {paths:?}; there is {found:?}");
        }
        // The others are written again.
        known.synced.retain(|program, _| program.starts_with("maker"));
    }
}

/// The machine booted since the spool was last used.
pub fn boot_again(spool: &Path) {
    let path = spool.join("spool.json");
    let Ok(text) = fs::read(&path) else { return };
    let mut identity: serde_json::Value = serde_json::from_slice(&text).unwrap();
    identity["boot"] = "the boot before".into();
    fs::write(&path, serde_json::to_vec(&identity).unwrap()).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
}

/// A start during which the power may go.
fn start_without_power(plan: &Plan, disk: &PowerDisk) {
    let daemon = Proc::start("logsinkfs", plan.command());
    let mut mount = Mount { plan: plan.clone(), daemon };
    eventually("the daemon to serve, or the power to go", || {
        (disk.is_off() || mount.daemon.has_said("logsinkfs: serving")).then_some(())
    });
    mount.crash();
}

/// What was quarantined are files whose names nobody had synced.
fn assert_sound(spool: &Path) {
    for name in quarantined(spool) {
        // One that has a record is kept with it.
        let unnamed =
            name.contains(".data") && !spool.join("quarantine").join(format!("{}.json", &name[..16])).exists();
        assert!(unnamed, "{name} was quarantined");
    }
}

/// The lines in the bucket, without what a power cut may leave behind a log's last fsync: a line that lost its end,
/// which is then the last of its generation, or bytes that never reached the disk.
fn whole_lines(bucket: &Bucket, tried: &Ledger) -> Vec<String> {
    let mut lines = Vec::new();
    for stream in bucket.streams() {
        for bytes in bucket.generations(&stream).into_values() {
            let mut pieces: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
            let last = pieces.pop().unwrap();
            let lost_its_end = |piece: &[u8]| tried.order().any(|line| line.as_bytes().starts_with(piece));
            if !last.contains(&0) && !lost_its_end(last) {
                pieces.push(last);
            }
            pieces.retain(|piece| !piece.contains(&0));
            lines.extend(pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()));
        }
    }
    lines
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

fn cuts(write_path: &str) {
    let seed = number("POWER_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("POWER_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    let rig = Rig::embedded();
    let disk = PowerDisk::new(&rig.local("disk"));
    let flags = ["--write-path", write_path, "--rotate-size", "4KiB", "--rotate-idle", "100ms"];
    let mut plan: Plan = rig.plan("a").with(&flags).with(&["--spool-max", "16MiB"]);
    plan.spool = disk.path.join("spool");
    let known = Mutex::default();
    let (rounds, mut forgotten) = (number("CUTS").unwrap_or(10), 0);
    for round in 0..rounds {
        let round = usize::try_from(round).unwrap();
        let mut mount = plan.clone().start();
        let play = Rounds { mount: &mount, disk: &disk, known: &known, round };
        play.assert_kept();
        assert_sound(&plan.spool);
        disk.cut_after(chance.u64(1..600));
        play.play();
        mount.crash();
        drop(mount);
        forgotten += disk.power_up(&mut chance);
        boot_again(&plan.spool);
        if chance.bool() {
            disk.cut_after(chance.u64(1..40));
            start_without_power(&plan, &disk);
            forgotten += disk.power_up(&mut chance);
            boot_again(&plan.spool);
        }
    }
    let mount = plan.clone().start();
    Rounds { mount: &mount, disk: &disk, known: &known, round: 0 }.assert_kept();
    let (code, said) = mount.terminate();
    assert_eq!(code, if quarantined(&plan.spool).is_empty() { 0 } else { 3 }, "{said}");
    assert_sound(&plan.spool);
    let known = known.into_inner().unwrap();
    let bucket = rig.bucket();
    let found = whole_lines(&bucket, &known.lines);
    let tried = known.lines.order().count();
    eprintln!(
        "{rounds} cuts ({forgotten} writes in the disk's cache): {tried} lines, {} of them synced, {} in the \
         bucket, {} logs checked",
        known.lines.count(),
        found.len(),
        known.synced.len(),
    );
    known.lines.report(&bucket, &found, usize::try_from(rounds).unwrap() + 1);
    known.lines.assert_in(&found);
}

#[test]
fn what_fsync_covered_survives_power_cuts_while_the_kernel_writes() {
    cuts("passthrough");
}

#[test]
fn what_fsync_covered_survives_power_cuts_while_the_daemon_writes() {
    cuts("daemon");
}
