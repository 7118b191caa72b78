//! A bucket that lies: keys that promise what their objects do not hold, and objects that claim what others have.
//! Defect reads it ends, takes little, and shows the lines of others.

use std::path::Path;

use fastrand::Rng;

use logsinkfs::format::naming::Form;
use logsinkfs::format::timeline::Content;
use logsinkfs::read::discover::DiscoveryScope;
use logsinkfs::read::scan::Scan;
use logsinkfs::read::stream_file::{Source, StreamFile};
use logsinkfs::types::errors::FsError;
use logsinkfs::types::span::TimePrefix;
use proptest::prelude::*;

use super::daemon::run;
use super::faulty::Op;
use super::fuzz::seeds;
use super::memory::Object;
use super::reading::{Desk, FOLDER, everything, packed, read, read_all, walked};
use super::room::small;

impl Desk {
    /// Plants an object under a name that is not made for it, so many seconds after the first ones.
    fn lie(&self, name: &str, bytes: &[u8], seconds: i64) {
        let key = format!("{FOLDER}dt=2026-11-23/hour=07/{name}");
        self.bucket.inner().plant(&key, Object::foreign(bytes).later(seconds));
    }

    async fn shown(&self) -> String {
        let file = self.open(everything()).await;
        let read = read_all(&file).await;
        assert_eq!(read, walked(&file).await, "a mount and `cat` show the same");
        String::from_utf8(read).unwrap()
    }
}

/// The bytes of the places of a file that are of segments.
fn promised(file: &StreamFile) -> u64 {
    let places = file.places_from(0, usize::MAX);
    let bytes = |content: &Content| matches!(content, Content::Bytes { .. });
    places.iter().map(|p| &p.content).filter(|c| bytes(c)).map(Content::len).sum()
}

#[tokio::test(start_paused = true)]
async fn a_length_that_no_segment_can_have_makes_a_foreign_object() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "070000", b"before\n", Form::Plain);
    for name in [
        "20260101T070500.000000Z_a_00000001_000000000000007_999999999999999.log",
        "20260101T070500.000000Z_b_00000001_9223372036854775800_000000000100.log",
        "20260101T070500.000000Z_c_00000001_000000000000000_18446744073709551615.log",
        "20260101T070500.000000Z_d_00000001_000000000000000_000000000000.log",
    ] {
        desk.lie(name, b"five\n", 1);
    }
    desk.plant("a", 1, 7, "071000", b"behind\n", Form::Plain);
    assert_eq!(desk.shown().await, "before\nbehind\n");
}

#[tokio::test(start_paused = true)]
async fn a_file_is_not_longer_than_its_objects_can_make_it() {
    let desk = Desk::new();
    for (n, suffix) in ["log", "log.gz", "log.zst"].into_iter().enumerate() {
        let generation = n + 1;
        let name = format!("20261123T07{n:02}00.000000Z_a_{generation:08}_000000000000000_4000000000000.{suffix}");
        desk.lie(&name, b"five\n", 0);
    }
    desk.plant("b", 1, 0, "080000", b"behind\n", Form::Plain);
    let file = desk.open(everything()).await;
    assert!(file.len() < 1 << 20, "{} bytes", file.len());
    let shown = String::from_utf8(read_all(&file).await).unwrap();
    assert!(shown.starts_with("five\n") && shown.ends_with("\nbehind\n"), "{shown}");
    assert_eq!(shown.matches("missing here").count(), 3, "{shown}");
    let strict = Source { strict: true, ..desk.source.clone() };
    let wanted = DiscoveryScope { folder: FOLDER.into(), span: everything(), writer: None, selection: None };
    let file = StreamFile::open(strict, wanted).await.unwrap();
    assert!(matches!(read(&file, 5, 100).await, Err(FsError::Dropped)));
}

/// Half a TiB that cannot be read: whatever is done for each of its bytes does not end.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_costs_what_is_asked_for_and_not_what_lies_before() {
    let desk = Desk::new();
    let name = "20261123T070000.000000Z_a_00000001_000000000000000_549755813888.log.zst";
    desk.lie(name, &[0; 16 << 20], 0);
    let file = desk.open(everything()).await;
    assert_eq!((file.len(), promised(&file)), (1 << 39, 1 << 39));
    let begin = read(&file, 0, 1 << 20).await.unwrap();
    let lines = begin.split(|byte| *byte == b'\n').map(<[u8]>::len);
    assert!(String::from_utf8_lossy(&begin).contains("cannot be read here: 0..549755813888"));
    assert!(lines.max() <= Some(1024), "lines that viewers and grep can take");
    let end = read(&file, file.len() - 1000, 1000).await.unwrap();
    assert_eq!((end.len(), end.last()), (1000, Some(&b'\n')));
    assert!(file.last_lines(100).await.unwrap().all);
}

/// What was stored first is read, whatever the names of those that came later say of themselves.
#[tokio::test(start_paused = true)]
async fn nobody_takes_the_place_of_lines_that_are_stored() {
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        let desk = Desk::new();
        desk.plant("a", 1, 0, "070000", b"line 1\n", form);
        desk.plant("a", 1, 7, "071000", b"line 2\n", form);
        desk.plant("a", 1, 14, "072000", b"line 3\n", form);
        let name = |start, offset, length, suffix| {
            format!("20261123T{start}.000000Z_a_00000001_{offset:015}_{length:012}.{suffix}")
        };
        let intruders = [
            (name("071000", 7, 8, "log"), &b"forged!\n"[..]),
            (name("071000", 0, 21, "log"), b"forged from end to en\n"),
            (name("065959", 7, 7, "log"), b"forged\n"),
            (name("235959", 12, 4, "log"), b"fo\n"),
        ];
        for (name, bytes) in &intruders {
            desk.lie(name, bytes, 60);
        }
        let shown = desk.shown().await;
        let lines: Vec<_> = shown.lines().filter(|line| !line.starts_with("logsinkfs:")).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 3"]);
        for (name, _) in &intruders {
            let said = format!("the object that was stored first is read, not {name}\n");
            assert_eq!(shown.matches(&said).count(), 1, "{shown}");
        }
        let strict = Source { strict: true, ..desk.source.clone() };
        let wanted = DiscoveryScope { folder: FOLDER.into(), span: everything(), writer: None, selection: None };
        let file = StreamFile::open(strict, wanted).await.unwrap();
        assert!(matches!(read(&file, 0, file.len()).await, Err(FsError::Dropped)));
    }
}

/// The segment that was under way when a slice begins is a part of it, whoever claims to be later.
#[tokio::test(start_paused = true)]
async fn nobody_takes_the_place_of_what_was_under_way() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "075500", b"long before\n", Form::Gzip);
    desk.plant("a", 1, 12, "075800", b"under way\n", Form::Gzip);
    desk.plant("a", 1, 22, "080300", b"within\n", Form::Gzip);
    desk.lie("20261123T075959.000000Z_a_00000001_000000000000900_000000000007.log", b"forged\n", 60);
    let slice = TimePrefix::parse("2026-11-23T08").unwrap().range();
    let shown = String::from_utf8(read_all(&desk.open(slice).await).await).unwrap();
    assert!(shown.starts_with("under way\nwithin\n"), "{shown}");
}

/// What a copy that was stored first does not hold is read from the one that does.
#[tokio::test(start_paused = true)]
async fn a_part_of_a_segment_is_read_alone() {
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        let desk = Desk::new();
        desk.lie("20261123T070500.000000Z_a_00000001_000000000000007_000000000007.log", b"first!\n", 0);
        let key = desk.plant("a", 1, 0, "070000", b"line 1\nline 2\nline 3\n", form);
        let stored = desk.bucket.inner().objects()[&key].clone();
        desk.bucket.inner().plant(&key, stored.later(60));
        let shown = desk.shown().await;
        let lines: Vec<_> = shown.lines().filter(|line| !line.starts_with("logsinkfs:")).collect();
        assert_eq!(lines, ["line 1", "first!", "line 3"], "{shown}");
    }
}

/// What a mount that writes reads back of a log, when somebody has put something else in the place of its segment.
#[test]
fn what_is_in_the_place_of_a_reclaimed_segment_takes_no_more_than_the_segment() {
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        run(async {
            let world = small(form);
            let daemon = world.boot();
            let log = daemon.open("app.log");
            daemon.append(log, "one\n");
            daemon.flush().await;
            daemon.reclaim_all();
            let bucket = world.bucket.inner();
            let key = bucket.objects().into_keys().find(|key| key.contains("app.log")).unwrap();
            let bomb = packed(&vec![0; 16 << 20], form);
            for (bytes, said) in [(bomb, "goes on behind 4 bytes"), (vec![0; 8 << 20], "is longer than")] {
                bucket.plant(&key, Object::foreign(&bytes));
                let before = world.bucket.calls().len();
                let read = daemon.read(log.id).await.unwrap_err().to_string();
                let calls = world.bucket.calls().into_iter().skip(before);
                let ranges = calls.filter(|call| call.op == Op::Get).filter_map(|call| call.range);
                let fetched: u64 = ranges.map(|range| range.end - range.start).sum();
                assert!(fetched <= 128 << 10, "{form:?}: {fetched} bytes were fetched");
                assert!(read.contains(said) || form == Form::Plain, "{form:?}: {read}");
            }
        });
    }
}

/// An object of whatever name with whatever in it: writer, generation, offset, length, form, body, and when it was
/// stored.
type Lie = (usize, u64, u64, u64, usize, usize, i64);

fn any_lie() -> impl Strategy<Value = Lie> {
    let length = prop_oneof![8 => 1..5_000u64, 1 => Just(5 << 40), 1 => any::<u64>()];
    let offset = prop_oneof![8 => 0..5_000u64, 1 => any::<u64>()];
    (0..2usize, 1..3u64, offset, length, 0..4usize, 0..5usize, 0..4i64)
}

fn lied((_, _, _, length, form, body, _): &Lie, form_of: Form) -> Vec<u8> {
    let text = |len: u64| -> Vec<u8> { (0..len).map(|n| b'a' + (n % 26) as u8).collect() };
    let whole = packed(&text((*length).min(5_000)), form_of);
    match body {
        0 => whole,
        1 => whole[..whole.len() / 2].to_vec(),
        2 => packed(&text((*length).min(5_000) + 1), form_of),
        3 => vec![b'?'; *form],
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is in a bucket, its file can be read to its end, the same in whatever portions, with and without a
    /// cache.
    #[test]
    fn whatever_a_bucket_holds_can_be_read(
        lies in prop::collection::vec(any_lie(), 1..10),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), 1..70_000u64), 1..5),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let desk = Desk::new();
            for (n, lie) in lies.iter().enumerate() {
                let (writer, generation, offset, length, form, _, modified) = *lie;
                let (writer, suffix) = (["a", "b"][writer], ["log", "log.gz", "log.zst", "dropped"][form]);
                let form = [Form::Plain, Form::Gzip, Form::Zstd, Form::Dropped][form];
                let name = format!(
                    "20261123T07{n:02}00.000000Z_{writer}_{generation:08}_{offset:015}_{length:012}.{suffix}"
                );
                desk.lie(&name, &lied(lie, form), modified);
            }
            let file = desk.open(everything()).await;
            let whole = read_all(&file).await;
            assert_eq!(whole.len() as u64, file.len());
            let mut walk = Scan::new(&file, 0);
            while walk.next().await.unwrap().is_some() {}
            assert_eq!(walk.at(), file.len());
            let uncached = desk.unpacking_into(Path::new("/proc"), 64 << 20);
            let uncached = uncached.open(everything()).await;
            for (from, len) in ranges {
                if whole.is_empty() {
                    break;
                }
                let from = from.index(whole.len());
                let to = whole.len().min(from + len as usize);
                assert!(read(&file, from as u64, len).await.unwrap() == whole[from..to]);
                assert!(read(&uncached, from as u64, len).await.unwrap() == whole[from..to]);
            }
        });
    }
}

/// The name of an object that lies: parts of sound names, extremes and rubbish.
fn any_name(rng: &mut Rng) -> String {
    let mut pick = |of: &[&str]| of[rng.usize(..of.len())].to_owned();
    let name = [
        pick(&["20261123T070000.000001Z", "20261123T071500.000000Z", "99991231T235959.999999Z", "x"]),
        pick(&["a", "b", "web-aaaaaaaa", "", "%2F", "..", "A_B"]),
        pick(&["00000001", "00000002", "99999999", "18446744073709551615", "1", "-0000001"]),
        pick(&["000000000000000", "000000000000007", "9223372036854775807", "4398046511104", "7"]),
        pick(&["000000000000", "000000000011", "000001000000", "5497558138880", "9", "000000000005p"]),
    ];
    let suffix = pick(&[".log", ".log.gz", ".log.zst", ".dropped", ".log.gz.gz", "", ".LOG"]);
    let mut name = name.join("_") + &suffix;
    for _ in 0..rng.usize(..3) {
        let at = rng.usize(..name.len());
        name.replace_range(at..=at, ["/", "_", "0", "\u{7f}", "%", "+"][rng.usize(..6)]);
    }
    name
}

/// A body that was sound once, perhaps.
fn any_body(rng: &mut Rng) -> Vec<u8> {
    let text = "a line\n".repeat(rng.usize(..200_000));
    let form = [Form::Plain, Form::Gzip, Form::Zstd, Form::Dropped][rng.usize(..4)];
    let mut body = packed(text.as_bytes(), form);
    match rng.usize(..4) {
        0 => body.truncate(rng.usize(..=body.len())),
        1 => body.extend(packed(b"behind the end\n", form)),
        2 => body = (0..rng.usize(..5000)).map(|_| rng.u8(..)).collect(),
        _ => {}
    }
    for _ in 0..rng.usize(..4) {
        if !body.is_empty() {
            let at = rng.usize(..body.len());
            body[at] ^= 1 << rng.u32(..8);
        }
    }
    body
}

/// The cases are the same in each run; `FUZZ_SEED` and `FUZZ_CASES` ask for others.
#[test]
fn objects_at_random_hide_no_line_and_neither_hang_nor_fill_memory() {
    for seed in seeds(60) {
        let mut lies = Vec::new();
        let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(async {
                let mut rng = Rng::with_seed(seed);
                let desk = Desk::new();
                desk.plant("a", 1, 0, "070000", b"line 1\n", Form::Plain);
                desk.plant("a", 1, 7, "071000", b"line 2\n", Form::Gzip);
                for n in 0..rng.i64(1..8) {
                    let (name, body) = (any_name(&mut rng), any_body(&mut rng));
                    desk.lie(&name, &body, n + 1);
                    lies.push((name, body.len()));
                }
                let file = desk.open(everything()).await;
                let (mut at, mut shown) = (0, Vec::new());
                // What is promised and missing is filled in: enough of it is read to pass every sound line.
                while shown.len() < 4 << 20 {
                    let part = read(&file, at, 1 << 20).await.unwrap();
                    if part.is_empty() {
                        break;
                    }
                    at += part.len() as u64;
                    shown.extend(part);
                }
                let whole = file.len() == at;
                let shown = String::from_utf8_lossy(&shown);
                for line in ["line 1\n", "line 2\n"] {
                    assert!(shown.contains(line) || !whole, "{line:?} is not shown");
                }
                file.last_lines(10).await.unwrap();
            });
        }));
        assert!(survived.is_ok(), "FUZZ_SEED={seed} FUZZ_CASES=1: after {lies:#?}");
    }
}
