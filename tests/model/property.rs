//! A model of the whole: logs are byte vectors. Whatever is done to them, in whatever order, with
//! replies lost and daemons killed in between, in the end the bucket has what was accepted: each
//! byte once, in order, generation by generation.
//!
//! The cases are the same in each run. `MODEL_SEED` and `MODEL_CASES` ask for others; a failure is
//! printed shrunk, as operations that a `regression_` test below can take over.

use std::collections::BTreeMap;
use std::time::Duration;

use logsinkfs::values::naming::Form;
use logsinkfs::world::bucket::Kind;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::check::generations;
use super::daemon::{Daemon, Log, World, run};
use super::faulty::{Fault, Op};

/// The names that logs can have.
const NAMES: [&str; 3] = ["a.log", "b.log", "dir/c.log"];

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// Bytes are appended to the log of that name, which is made if there is none.
    Append(usize, Vec<u8>),
    Truncate(usize),
    /// Onto another name, replacing the log that has it.
    Rename(usize, usize),
    Unlink(usize),
    Close(usize),
    /// The next PUT of a segment is not carried out.
    FailNextPut,
    /// The reply to the next PUT of a segment is lost.
    LoseNextReply,
    /// Seconds pass.
    Pass(u64),
    /// Everything is sealed and uploaded.
    Flush,
    /// Everything is sealed, and what follows finds it so.
    SealAll,
    /// What S3 has leaves the disk.
    Reclaim,
    /// The daemon is killed, and another one started.
    Crash,
    /// The daemon is stopped as it should be, and another one started.
    Restart,
}

/// A log as an application knows it.
struct File {
    /// The path under which it was made.
    stream: &'static str,
    generations: Vec<Vec<u8>>,
    open: Option<Log>,
}

struct Model {
    world: World,
    daemon: Option<Daemon>,
    files: Vec<File>,
    names: BTreeMap<&'static str, usize>,
}

impl Model {
    fn new(form: Form) -> Model {
        let mut world = World::new();
        world.settings.segmenting.form = form;
        world.settings.segmenting.rules.size = 1024;
        let daemon = Some(world.boot());
        Model { world, daemon, files: Vec::new(), names: BTreeMap::new() }
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// The file of a name, made and opened when it is not.
    fn opened(&mut self, name: &'static str) -> (usize, Log) {
        let next = self.files.len();
        let file = *self.names.entry(name).or_insert(next);
        if file == next {
            self.files.push(File { stream: name, generations: vec![Vec::new()], open: None });
        }
        let log = match self.files[file].open {
            Some(log) => log,
            None => self.daemon().open(name),
        };
        self.files[file].open = Some(log);
        (file, log)
    }

    /// Closes what has no name any more, as its last user does sooner or later.
    fn close(&mut self, file: usize) {
        if let Some(log) = self.files[file].open.take() {
            self.daemon().close(log);
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Append(name, bytes) => {
                let (file, log) = self.opened(NAMES[*name]);
                self.daemon().append(log, bytes);
                self.files[file].generations.last_mut().unwrap().extend_from_slice(bytes);
            }
            Step::Truncate(name) => {
                let (file, log) = self.opened(NAMES[*name]);
                self.daemon().truncate(log);
                self.files[file].generations.push(Vec::new());
            }
            Step::Rename(from, to) => {
                let (from, to) = (NAMES[*from], NAMES[*to]);
                let Some(file) = self.names.get(from).copied().filter(|_| from != to) else {
                    return;
                };
                self.daemon().rename(from, to).await;
                self.names.remove(from);
                self.names.insert(to, file);
            }
            Step::Unlink(name) => {
                if self.names.remove(NAMES[*name]).is_some() {
                    self.daemon().unlink(NAMES[*name]);
                }
            }
            Step::Close(name) => {
                if let Some(file) = self.names.get(NAMES[*name]).copied() {
                    self.close(file);
                }
            }
            Step::FailNextPut => self.script(Fault::Before(Kind::Unreachable)),
            Step::LoseNextReply => self.script(Fault::After(Kind::Unreachable)),
            Step::Pass(seconds) => self.daemon().pass(Duration::from_secs(*seconds)).await,
            Step::Flush => self.daemon().flush().await,
            Step::SealAll => {
                self.daemon().seal_all();
                self.daemon().sealed().await;
            }
            Step::Reclaim => {
                self.daemon().reclaim_all();
                self.check_reads().await;
            }
            Step::Crash => {
                let image = self.daemon.take().unwrap().crash();
                self.start(&image);
                self.check_reads().await;
            }
            Step::Restart => {
                let image = self.daemon.take().unwrap().shut_down().await;
                assert!(image.files(".sealed").is_empty(), "an orderly stop leaves nothing");
                self.start(&image);
                self.check_reads().await;
            }
        }
    }

    fn script(&self, fault: Fault) {
        self.world.bucket.script(Op::Put, ".segments/", 1, fault);
    }

    fn start(&mut self, image: &super::image::Image) {
        for file in &mut self.files {
            file.open = None;
        }
        self.daemon = Some(self.world.boot_from(image));
    }

    /// Every log of the view reads as what was accepted since it was truncated last.
    async fn check_reads(&self) {
        for name in NAMES {
            let expected = self.names.get(name).map(|file| &self.files[*file].generations);
            match (self.daemon().stat(name), expected) {
                (None, None) => {}
                (Some(attr), Some(generations)) => {
                    let last = generations.last().unwrap();
                    assert_eq!(attr.size, last.len() as u64, "size of {name}");
                    assert_eq!(&self.daemon().read(attr.id).await.unwrap(), last, "{name}");
                }
                (found, _) => panic!("{name} is {found:?} in the view"),
            }
        }
    }

    /// The bucket has what was accepted.
    async fn check_all_arrived(&mut self) {
        self.check_reads().await;
        for file in 0..self.files.len() {
            self.close(file);
        }
        self.daemon().flush().await;
        let mut found: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        let mut number_of: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for generation in generations(&self.world) {
            let number = numbers.entry(generation.stream.clone()).or_default();
            *number += 1;
            assert_eq!(
                generation.number.0, *number,
                "a number of {} is missing",
                generation.stream
            );
            assert_eq!(generation.offset, 0);
            number_of.insert(generation.bytes.clone(), *number);
            found.entry(generation.stream).or_default().push(generation.bytes);
        }
        let mut expected: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for file in &self.files {
            let written = file.generations.iter().filter(|bytes| !bytes.is_empty()).cloned();
            expected.entry(file.stream.to_owned()).or_default().extend(written);
        }
        for file in &self.files {
            let in_order = file.generations.iter().filter_map(|bytes| number_of.get(bytes));
            assert!(in_order.is_sorted(), "generations of one log are numbered in their order");
        }
        expected.retain(|_, generations| !generations.is_empty());
        for generations in found.values_mut().chain(expected.values_mut()) {
            generations.sort();
        }
        assert_eq!(readable(found), readable(expected));
        let image = self.daemon().image();
        assert!(image.names("quarantine").is_empty(), "{:?}", image.names("quarantine"));
    }
}

fn readable(of: BTreeMap<String, Vec<Vec<u8>>>) -> BTreeMap<String, Vec<String>> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    of.into_iter().map(|(name, all)| (name, all.into_iter().map(text).collect())).collect()
}

fn check(form: Form, steps: &[Step]) {
    run(async {
        let mut model = Model::new(form);
        for step in steps {
            model.step(step).await;
        }
        model.check_all_arrived().await;
    });
}

/// Bytes that no other append has, with or without the end of a line.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    (any::<u32>(), 0..700usize, prop::bool::weighted(0.8)).prop_map(|(tag, filling, ended)| {
        let end = if ended { "\n" } else { "" };
        format!("{tag:08x}{}{end}", ".".repeat(filling)).into_bytes()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    prop_oneof![
        8 => (name.clone(), any_bytes()).prop_map(|(name, bytes)| Step::Append(name, bytes)),
        2 => name.clone().prop_map(Step::Truncate),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.clone().prop_map(Step::Unlink),
        2 => name.prop_map(Step::Close),
        2 => Just(Step::FailNextPut),
        2 => Just(Step::LoseNextReply),
        3 => (0..400u64).prop_map(Step::Pass),
        1 => Just(Step::Flush),
        2 => Just(Step::SealAll),
        2 => Just(Step::Reclaim),
        3 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

fn asked(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn whatever_happens_each_byte_arrives_once_and_in_order() {
    let (seed, cases) = (asked("MODEL_SEED", 1), asked("MODEL_CASES", 64));
    println!("MODEL_SEED={seed} MODEL_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let cases = u32::try_from(cases).unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let forms = prop_oneof![Just(Form::Plain), Just(Form::Gzip), Just(Form::Zstd)];
    let strategy = (forms, prop::collection::vec(any_step(), 1..40));
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |(form, steps)| {
        check(form, &steps);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("MODEL_SEED={seed}: {failure}");
    }
}
