//! A model of the whole: logs are byte vectors. Whatever is done to them, in whatever order, with replies lost and
//! daemons killed in between, in the end the bucket has what was accepted: each byte once, in order, generation by
//! generation.
//!
//! The cases are the same in each run. `MODEL_SEED` and `MODEL_CASES` ask for others; a failure is printed shrunk, as
//! operations that a `regression_` test below can take over.

use std::sync::Arc;

use logsinkfs::format::naming::Form;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::daemon::{World, run};
use super::driver::Driver;
use super::logs::{NAMES, Step};

fn check(form: Form, steps: &[Step]) {
    run(async {
        let mut driver = Driver::new(form);
        for step in steps {
            driver.step(step).await;
        }
        driver.check_all_arrived().await;
    });
}

/// Two daemons with spools of their own on one bucket, with the same names of logs.
fn check_two(steps: &[(bool, Step)]) {
    run(async {
        let world = Arc::new(World::new());
        let mut drivers = [Driver::on(world.clone()), Driver::on(world)];
        for (second, step) in steps {
            drivers[usize::from(*second)].step(step).await;
        }
        for driver in &mut drivers {
            driver.check_all_arrived().await;
        }
        assert_ne!(drivers[0].writer(), drivers[1].writer());
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
        2 => name.clone().prop_map(Step::OpenAnew),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.clone().prop_map(Step::Unlink),
        2 => name.prop_map(Step::Close),
        2 => Just(Step::FailNextPut),
        2 => Just(Step::LoseNextReply),
        3 => (0..400u64).prop_map(Step::Pass),
        1 => (0..100_000u64).prop_map(Step::ClockBack),
        2 => any::<bool>().prop_map(Step::DiskFull),
        1 => Just(Step::Flush),
        2 => Just(Step::SealAll),
        2 => Just(Step::Reclaim),
        2 => Just(Step::Crash),
        4 => (0..40usize).prop_map(Step::CrashAt),
        1 => Just(Step::Restart),
    ]
}

fn asked(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn for_all<S: Strategy>(strategy: S, check: impl Fn(S::Value)) {
    let (seed, cases) = (asked("MODEL_SEED", 1), asked("MODEL_CASES", 64));
    println!("MODEL_SEED={seed} MODEL_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let cases = u32::try_from(cases).unwrap();
    let max_shrink_iters = u32::try_from(asked("MODEL_SHRINK", 300)).unwrap();
    let config = Config { cases, max_shrink_iters, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |case| {
        check(case);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("MODEL_SEED={seed}: {failure}");
    }
}

#[test]
fn whatever_happens_each_byte_arrives_once_and_in_order() {
    let forms = prop_oneof![Just(Form::Plain), Just(Form::Gzip), Just(Form::Zstd)];
    let strategy = (forms, prop::collection::vec(any_step(), 1..40));
    for_all(strategy, |(form, steps)| check(form, &steps));
}

#[test]
fn two_daemons_on_one_bucket_do_not_disturb_each_other() {
    let strategy = prop::collection::vec((any::<bool>(), any_step()), 1..60);
    for_all(strategy, |steps| check_two(&steps));
}
