//! No number is ever lowered, whatever happens to the table.

use super::*;
use crate::types::ids::WriterId;

const SECONDS: u64 = 1_795_000_000;

fn open(spool: &Spool) -> Numbers {
    Numbers::open(spool, Utc::from_micros(SECONDS as i64 * 1_000_000)).expect("a table")
}

fn spool(dir: &Path) -> Spool {
    let writer = |name: &str| WriterId::compose(name, crate::types::random::below);
    Spool::open(dir, "s3://b/", "host", writer).expect("a spool")
}

fn numbered(number: u64) -> Numbered {
    Numbered { number: GenerationNo(number), start: Utc::from_micros(number as i64) }
}

fn name(n: u64) -> Vec<u8> {
    format!("web/{n}.log").into_bytes()
}

/// A spool in which the streams from 1 to `count` have come to their own number.
fn filled(dir: &Path, count: u64) -> (Spool, Numbers) {
    let spool = spool(dir);
    let numbers = open(&spool);
    (1..=count).for_each(|n| numbers.put(&name(n), numbered(n)).expect("kept"));
    (spool, numbers)
}

fn get(numbers: &Numbers, n: u64) -> u64 {
    numbers.get(&name(n)).expect("read").number.0
}

#[test]
fn numbers_are_found_again_and_never_lowered() {
    let dir = tempfile::tempdir().expect("a folder");
    let (spool, numbers) = filled(dir.path(), 200);
    numbers.put(&name(7), numbered(3)).expect("kept");
    for numbers in [numbers, open(&spool)] {
        (1..=200).for_each(|n| assert_eq!(numbers.get(&name(n)).expect("read"), numbered(n)));
        assert_eq!(get(&numbers, 201), 0);
    }
    let len = fs::metadata(dir.path().join(NUMBERS)).expect("a file").len();
    assert_eq!(len, 512 + 1024 * 64);
}

#[test]
fn damage_anywhere_lowers_no_number() {
    let dir = tempfile::tempdir().expect("a folder");
    let (spool, numbers) = filled(dir.path(), 20);
    drop(numbers);
    let path = dir.path().join(NUMBERS);
    let sound = fs::read(&path).expect("read");
    for at in (0..32).chain((HEAD..sound.len()).step_by(13)) {
        let mut text = sound.clone();
        text[at] ^= 0x10;
        fs::write(&path, text).expect("damaged");
        let numbers = open(&spool);
        let all = (1..=20).all(|n| [n, SECONDS].contains(&get(&numbers, n)));
        assert!(all, "a change of byte {at}");
        let lost = (1..=20).filter(|n| get(&numbers, *n) != *n).count();
        assert!(lost <= 1, "a change of byte {at}");
    }
    for len in [0, 7, HEAD, HEAD + 100, sound.len() - 1] {
        fs::write(&path, &sound[..len]).expect("cut");
        let numbers = open(&spool);
        let all = (1..=20).all(|n| [n, SECONDS].contains(&get(&numbers, n)));
        assert!(all, "cut to {len}");
        assert_eq!(get(&numbers, 21), SECONDS);
    }
    fs::remove_file(&path).expect("removed");
    assert_eq!(get(&open(&spool), 1), SECONDS);
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("a folder");
    assert_eq!(get(&open(&spool), 1), SECONDS);
}

#[test]
fn too_many_streams_are_forgotten_behind_a_floor() {
    let most = SLOTS_MAX as u64 / 2;
    let entries = (1..=most + 1).map(|n| (hash(&name(n)), numbered(n))).collect();
    let (entries, floor, whole) = parse(&text_of(entries, GenerationNo(5)));
    assert!(whole);
    assert_eq!(entries.len() as u64, most / 2);
    assert_eq!(floor.0, most / 2 + 1);
    assert!(entries.values().all(|numbered| numbered.number > floor));
}

#[test]
fn the_files_of_earlier_versions_are_taken_over_and_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let spool = spool(dir.path());
    let streams = dir.path().join(STREAMS);
    let earlier = |n: u64, text: &str| fs::write(streams.join(format!("{n:016x}.json")), text);
    for with_table in [false, true] {
        fs::create_dir(&streams).expect("a folder");
        earlier(1, r#"{"stream":"web/1.log","generation":41}"#).expect("written");
        earlier(2, r#"{"stream":"web/2.log","generation":1}"#).expect("written");
        fs::write(streams.join("3.new"), "{").expect("written");
        if !with_table {
            fs::remove_file(dir.path().join(NUMBERS)).expect("removed");
        }
        let numbers = open(&spool);
        assert_eq!([1, 2, 3].map(|n| get(&numbers, n)), [41, if with_table { 9 } else { 1 }, 0]);
        assert!(!streams.exists());
        numbers.put(&name(2), numbered(9)).expect("kept");
    }
    fs::create_dir(&streams).expect("a folder");
    earlier(1, "").expect("written");
    let numbers = open(&spool);
    assert_eq!([1, 2, 3].map(|n| get(&numbers, n)), [41, 9, SECONDS]);
    assert!(dir.path().join("quarantine/streams").exists(), "kept");
}
