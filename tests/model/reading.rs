//! Streams read as one file, from a bucket in memory: what they consist of, what it costs in requests, and what is
//! shown where bytes cannot be had.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use logsinkfs::format::naming::{Form, SegmentName};
use logsinkfs::format::partition::PartitionTemplate;
use logsinkfs::read::discover::DiscoveryScope;
use logsinkfs::read::objects::{BUDGET, Objects};
use logsinkfs::read::range_fetcher::RangeFetcher;
use logsinkfs::read::scan::{Scan, ScanItem};
use logsinkfs::read::stream_file::{SETTLING, Source, StreamFile};
use logsinkfs::read::unpack_cache::UnpackCache;
use logsinkfs::s3::bucket::Bucket;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::clock::Clock;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::ids::GenerationNo;
use logsinkfs::types::span::TimePrefix;
use logsinkfs::types::stored_object::ObjectId;
use logsinkfs::types::time::Utc;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::clock::TestClock;
use super::endless::Endless;
use super::faulty::{Fault, Faulty, Op};
use super::memory::{MemoryBucket, Object};

pub const FOLDER: &str = "logs/app.log.segments/";
const USUAL: &str = "dt=%Y-%m-%d/hour=%H";

pub type Store = Faulty<MemoryBucket>;

/// A bucket, a clock that stands at half past eight, and who reads.
pub struct Desk {
    pub bucket: Arc<Store>,
    pub source: Source,
}

fn at(name: &str) -> Utc {
    Utc::from_name(&format!("20261123T{name}.000000Z")).unwrap()
}

pub fn everything() -> Range<Utc> {
    Utc::default()..Utc::LAST
}

fn today() -> Range<Utc> {
    at("083000").minus(Duration::from_secs(24 * 3600))..Utc::LAST
}

fn source(bucket: Arc<dyn Bucket>, clock: Arc<dyn Clock>, strict: bool) -> Source {
    let runtime = tokio::runtime::Handle::current();
    let objects = Arc::new(Objects::new(bucket.clone(), runtime.clone(), BUDGET));
    let unpack_cache = UnpackCache::new(bucket.clone(), std::env::temp_dir(), 64 << 20, runtime);
    Source { bucket, clock, unpack_cache: Arc::new(unpack_cache), objects, strict, settling: SETTLING }
}

impl Desk {
    pub fn new() -> Desk {
        let bucket = Arc::new(Faulty::new(MemoryBucket::new(1000)));
        let source = source(bucket.clone(), Arc::new(TestClock::start()), false);
        Desk { bucket, source }
    }

    /// Plants a segment; gives its key.
    pub fn plant(&self, writer: &str, generation: u64, offset: u64, start: &str, text: &[u8], form: Form) -> String {
        self.plant_in(USUAL, writer, generation, offset, at(start), text, form)
    }

    #[expect(clippy::too_many_arguments, reason = "a name has as many parts")]
    fn plant_in(
        &self,
        template: &str,
        writer: &str,
        generation: u64,
        offset: u64,
        start: Utc,
        text: &[u8],
        form: Form,
    ) -> String {
        let name = SegmentName {
            stream: b"app.log".to_vec(),
            partition: PartitionTemplate::parse(template).unwrap().of(start),
            start,
            writer: writer.parse().unwrap(),
            generation: GenerationNo(generation),
            offset,
            length: text.len() as u64,
            partial: !text.ends_with(b"\n"),
            form,
        };
        let key = name.key("logs/");
        self.bucket.inner().plant(&key, Object::foreign(&packed(text, form)));
        key
    }

    pub async fn open(&self, span: Range<Utc>) -> StreamFile {
        let wanted = DiscoveryScope { folder: FOLDER.into(), span, writer: None, selection: None };
        StreamFile::open(self.source.clone(), wanted).await.unwrap()
    }

    fn lists(&self) -> Vec<String> {
        self.bucket.calls_of(Op::List, "").into_iter().map(|call| call.key).collect()
    }

    fn gets(&self) -> usize {
        self.bucket.calls_of(Op::Get, "").len()
    }
}

pub fn packed(text: &[u8], form: Form) -> Vec<u8> {
    match form {
        Form::Plain => text.to_vec(),
        Form::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Form::Zstd => zstd::encode_all(text, 3).unwrap(),
        Form::Dropped => Vec::new(),
    }
}

pub async fn read_all(file: &StreamFile) -> Vec<u8> {
    read(file, 0, file.len()).await.unwrap()
}

pub async fn read(file: &StreamFile, offset: u64, len: u64) -> Result<Vec<u8>, FsError> {
    let (reader, mut bytes) = (Mutex::default(), Vec::new());
    while (bytes.len() as u64) < len {
        let at = offset + bytes.len() as u64;
        let size = u32::try_from((offset + len - at).min(100_000)).unwrap();
        let piece = file.read(&reader, at, size).await?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub async fn walked(file: &StreamFile) -> Vec<u8> {
    let (mut walk, mut bytes) = (Scan::new(file, 0), Vec::new());
    while let Some(piece) = walk.next().await.unwrap() {
        match piece {
            ScanItem::Bytes(piece, _) => bytes.extend_from_slice(&piece),
            ScanItem::Note(text) => bytes.extend_from_slice(text.as_bytes()),
            ScanItem::Damaged(segment, why) => panic!("{segment:?}: {why}"),
        }
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn all_writers_and_restarts_are_one_file_whatever_their_compression() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "070000", b"a first\n", Form::Gzip);
    desk.plant("b", 1, 0, "073000", b"b first\nb has no", Form::Zstd);
    desk.plant("a", 1, 8, "080000", b"a second\n", Form::Plain);
    desk.plant("a", 2, 0, "081000", b"a again\n", Form::Gzip);
    let text = b"a first\nb first\nb has no\na second\na again\n";
    let file = desk.open(everything()).await;
    assert_eq!((file.len(), desk.gets()), (text.len() as u64, 0), "known from the listing alone");
    assert_eq!(walked(&file).await, text);
    assert_eq!(desk.gets(), 4, "who goes through it keeps nothing");
    assert_eq!(read_all(&file).await, text);
    assert_eq!(read_all(&file).await, text);
    assert_eq!(desk.gets(), 8, "what is read here and there is fetched once, whoever reads");
    assert_eq!(walked(&file).await, text);
    assert_eq!(desk.gets(), 9, "what is unpacked is not fetched again");
}

#[tokio::test(start_paused = true)]
async fn a_day_costs_a_list_for_each_of_its_dates_and_one_for_the_folders() {
    let desk = Desk::new();
    desk.plant_in(USUAL, "a", 1, 0, at("080000").minus(Duration::from_secs(86400 * 9)), b"old\n", Form::Gzip);
    desk.plant("a", 1, 4, "070000", b"new\n", Form::Gzip);
    let file = desk.open(today()).await;
    assert_eq!(read_all(&file).await, b"new\n");
    assert_eq!(desk.lists(), [FOLDER.into(), format!("{FOLDER}dt=2026-11-23/")]);
    tokio::time::advance(Duration::from_secs(60)).await;
    file.refresh(Duration::from_secs(60)).await.unwrap();
    let newest = ["08", "07"].map(|hour| format!("{FOLDER}dt=2026-11-23/hour={hour}/"));
    assert_eq!(desk.lists()[2..], newest, "the two newest partitions, nothing else");
    file.refresh(Duration::from_secs(60)).await.unwrap();
    assert_eq!(desk.lists().len(), 4, "fresh");
}

#[tokio::test(start_paused = true)]
async fn a_slice_lists_its_hours_and_the_one_before_and_begins_with_what_was_under_way() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "050000", b"five\n", Form::Gzip);
    desk.plant("a", 1, 5, "064000", b"before\n", Form::Gzip);
    desk.plant("a", 1, 12, "065500", b"into seven\n", Form::Gzip);
    desk.plant("a", 1, 23, "071000", b"seven\n", Form::Gzip);
    desk.plant("a", 1, 29, "080000", b"eight\n", Form::Gzip);
    let slice = TimePrefix::parse("2026-11-23T07").unwrap().range();
    let file = desk.open(slice).await;
    assert_eq!(read_all(&file).await, b"into seven\nseven\n");
    let hours = ["06", "07"].map(|hour| format!("{FOLDER}dt=2026-11-23/hour={hour}/"));
    assert_eq!(desk.lists(), [&[FOLDER.to_owned()][..], &hours].concat());
}

#[tokio::test(start_paused = true)]
async fn the_template_of_a_writer_is_learned_from_its_registration() {
    let desk = Desk::new();
    let register = |writer: &str, template: &str| {
        let json = format!(r#"{{"writer":"{writer}","partition":"{template}"}}"#);
        let key = format!("logs/.logsinkfs/writers/{writer}/00000001.json");
        desk.bucket.inner().plant(&key, Object::foreign(json.as_bytes()));
    };
    register("a", "%Y/%m/%d");
    for (day, offset) in [(9, 0), (1, 4), (0, 8)] {
        let start = at("080000").minus(Duration::from_secs(86400 * day));
        desk.plant_in("%Y/%m/%d", "a", 1, offset, start, format!("d {day}\n").as_bytes(), Form::Gzip);
    }
    let file = desk.open(today()).await;
    assert_eq!(read_all(&file).await, b"d 1\nd 0\n");
    let days = ["21", "22", "23"].map(|day| format!("{FOLDER}2026/11/{day}/"));
    assert_eq!(desk.lists()[4..], days, "the days of the span, not the year");
    // Without a registration all is listed, and the same is found.
    let desk = Desk::new();
    for (day, offset) in [(9, 0), (0, 4)] {
        let start = at("080000").minus(Duration::from_secs(86400 * day));
        desk.plant_in("x=%d", "a", 1, offset, start, format!("d {day}\n").as_bytes(), Form::Gzip);
    }
    assert_eq!(read_all(&desk.open(today()).await).await, b"d 9\nd 0\n");
}

#[tokio::test(start_paused = true)]
async fn what_comes_late_comes_at_the_end_and_offsets_stay() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "080000", b"first\n", Form::Gzip);
    desk.plant("a", 1, 11, "080500", b"third\n", Form::Gzip);
    let file = desk.open(today()).await;
    let before = read_all(&file).await;
    assert!(String::from_utf8_lossy(&before).contains("5 bytes are missing here: 6..11 of generation 1 of a\n"));
    desk.plant("a", 1, 6, "080200", b"late\n", Form::Gzip);
    // Another writer's, from an hour that is looked at now and then only.
    desk.plant("b", 1, 0, "030000", b"from b\n", Form::Gzip);
    let mut texts = Vec::new();
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(60)).await;
        file.refresh(Duration::from_secs(60)).await.unwrap();
        texts.push(read_all(&file).await);
    }
    assert_eq!(texts[0], [&before[..], b"late\n"].concat());
    assert_eq!(texts[9], [&before[..], b"late\nfrom b\n"].concat());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_a_line_that_says_so_and_the_rest_is_there() {
    let desk = Desk::new();
    let text: Vec<u8> = (0..20_000).flat_map(|n| format!("line {n:06}\n").into_bytes()).collect();
    desk.plant("a", 1, 0, "070000", b"before\n", Form::Gzip);
    let cut = desk.plant("a", 1, 7, "071000", &text, Form::Gzip);
    let gone = desk.plant("a", 1, 7 + text.len() as u64, "072000", b"gone\n", Form::Gzip);
    desk.plant("a", 1, 12 + text.len() as u64, "073000", b"behind\n", Form::Gzip);
    let half = packed(&text, Form::Gzip);
    desk.bucket.inner().plant(&cut, Object::foreign(&half[..half.len() / 2]));
    let file = desk.open(today()).await;
    let mut without = desk.bucket.inner().objects();
    without.remove(&gone);
    desk.bucket.inner().set_back(&without);
    let shown = read_all(&file).await;
    assert_eq!(shown.len() as u64, file.len());
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.starts_with("before\nline 000000\n") && shown.ends_with("\nbehind\n"));
    let said: Vec<&str> = shown.lines().filter(|line| line.starts_with("logsinkfs:")).collect();
    assert_eq!(said.len(), 1, "a note that does not fit is cut: {said:?}");
    // An object that holds less than its name says: what the listing tells already makes no long file.
    let short = desk.plant("b", 1, 0, "080000", &text, Form::Plain);
    desk.bucket.inner().plant(&short, Object::foreign(&text[..1200]));
    let whole = desk.open(today()).await;
    let note = "\nlogsinkfs: 238800 bytes are missing here: 1200..240000 of generation 1 of b\n";
    let expected = [b"behind\n", &text[..1200], note.as_bytes()].concat();
    let begin = whole.len() - expected.len() as u64;
    assert!(read(&whole, begin, whole.len() - begin).await.unwrap() == expected);
    // Under --strict what is before is read, and then nothing.
    let strict = Source { strict: true, ..desk.source.clone() };
    let wanted = DiscoveryScope { folder: FOLDER.into(), span: today(), writer: None, selection: None };
    let file = StreamFile::open(strict, wanted).await.unwrap();
    assert!(read(&file, 0, 19).await.is_ok());
    assert!(read(&file, file.len() - 12, 12).await.is_err());
}

/// Text that tells where it is.
pub fn text_from(line: usize, bytes: usize) -> Vec<u8> {
    (line..line + bytes / 16).flat_map(|n| format!("{n:015}\n").into_bytes()).collect()
}

pub const MIB: usize = 1 << 20;

/// More pieces than may be held at once, of segments that are read side by side.
#[tokio::test(start_paused = true)]
async fn segments_of_many_pieces_come_in_order_whoever_reads() {
    let desk = Desk::new();
    let text = text_from(0, 80 * MIB);
    let forms = [Form::Plain, Form::Gzip, Form::Plain, Form::Zstd];
    for (n, (part, form)) in text.chunks(20 * MIB).zip(forms).enumerate() {
        let offset = (n * 20 * MIB) as u64;
        desk.plant("a", 1, offset, &format!("0700{n:02}"), part, form);
    }
    let file = desk.open(everything()).await;
    let asked = || -> u64 {
        let calls = desk.bucket.calls_of(Op::Get, "").into_iter();
        calls.filter_map(|call| call.range).map(|range| range.end - range.start).sum()
    };
    let stored = |form: Form| packed(&text[..20 * MIB], form).len() as u64;
    assert!(walked(&file).await == text);
    let plain = 2 * stored(Form::Plain);
    assert!(asked() < plain + 3 * stored(Form::Gzip), "each byte once");
    // From within a segment, as `tail` goes on.
    for at in [20 * MIB - 8, 20 * MIB + 5, 79 * MIB + 1] {
        let (mut walk, mut rest) = (Scan::new(&file, at as u64), Vec::new());
        while let Some(ScanItem::Bytes(piece, _)) = walk.next().await.unwrap() {
            rest.extend_from_slice(&piece);
        }
        assert!(rest == text[at..], "from {at}");
    }
    let before = asked();
    assert!(read_all(&file).await == text);
    assert!(asked() - before < plain + 3 * stored(Form::Gzip), "each byte once");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_plain_segment_is_read_without_its_beginning() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "080000", &text_from(0, 20 * MIB), Form::Plain);
    let file = desk.open(everything()).await;
    let last = file.last_lines(10).await.unwrap();
    assert_eq!((last.begin, last.all), (file.len() - 160, true));
    let mut walk = Scan::new(&file, last.begin);
    assert!(matches!(walk.next().await, Ok(Some(ScanItem::Bytes(bytes, _))) if bytes.len() == 160));
    let asked = desk.bucket.calls_of(Op::Get, "").into_iter().filter_map(|call| call.range);
    let asked: u64 = asked.map(|range| range.end - range.start).sum();
    assert!(asked <= 2 * (256 << 10), "{asked} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_plain_segment_that_goes_while_it_is_read_leaves_a_line_that_says_so() {
    let desk = Desk::new();
    let text = text_from(0, 4 * MIB);
    let gone = desk.plant("a", 1, 0, "080000", &text, Form::Plain);
    desk.plant("a", 1, text.len() as u64, "081000", b"behind\n", Form::Plain);
    let file = desk.open(everything()).await;
    let reader = Mutex::default();
    assert_eq!(file.read(&reader, 0, 1600).await.unwrap(), text[..1600]);
    let mut without = desk.bucket.inner().objects();
    without.remove(&gone);
    desk.bucket.inner().set_back(&without);
    let mut all = Vec::new();
    while (all.len() as u64) < file.len() {
        all.extend_from_slice(&file.read(&reader, all.len() as u64, 100_000).await.unwrap());
    }
    let said = String::from_utf8_lossy(&all);
    assert_eq!(said.matches("its object is gone").count(), 1);
    assert!(all.starts_with(&text[..200_000]) && all.ends_with(b"\nbehind\n"));
    // Who goes through it is told the same, and gets the rest.
    let (mut walk, mut told, mut rest) = (Scan::new(&file, 0), 0, Vec::new());
    while let Some(piece) = walk.next().await.unwrap() {
        match piece {
            ScanItem::Damaged(..) => told += 1,
            ScanItem::Bytes(bytes, _) => rest = bytes.to_vec(),
            ScanItem::Note(_) => {}
        }
    }
    assert_eq!((told, &rest[..]), (1, &b"behind\n"[..]));
}

/// Whichever task runs first.
#[tokio::test(start_paused = true)]
async fn what_is_asked_for_first_never_waits_for_what_is_asked_for_later() {
    let desk = Desk::new();
    let keys = ["070000", "071000"].map(|start| desk.plant("a", 1, 0, start, &text_from(0, 64 * MIB), Form::Plain));
    let fetcher = RangeFetcher::new(desk.bucket.clone());
    let [first, later] = keys.map(|key| fetcher.chunks(ObjectId { key, etag: None }, 0..64 << 20));
    let (mut first, mut later) = (std::pin::pin!(first), std::pin::pin!(later));
    assert!(later.next().now_or_never().is_none(), "all places are the first one's");
    let mut pieces = 0;
    while let Some(piece) = first.next().await {
        pieces += 1;
        drop(piece.unwrap());
    }
    assert_eq!(pieces, 17, "more than there are places");
    assert!(later.next().await.unwrap().is_ok());
}

/// Going on after an outage asks anew, in order.
#[tokio::test(start_paused = true)]
async fn who_goes_through_a_log_goes_on_after_an_outage() {
    let desk = Desk::new();
    let text = text_from(0, 128 * MIB);
    for (n, part) in text.chunks(64 * MIB).enumerate() {
        let offset = (n * 64 * MIB) as u64;
        desk.plant("a", 1, offset, &format!("0700{n:02}"), part, Form::Plain);
    }
    let file = desk.open(everything()).await;
    let (mut walk, mut all, mut failures) = (Scan::new(&file, 0), Vec::new(), 0);
    loop {
        let next = tokio::time::timeout(Duration::from_secs(3600), walk.next());
        match next.await.expect("it does not go on") {
            Ok(Some(ScanItem::Bytes(bytes, _))) => all.extend_from_slice(&bytes),
            Ok(Some(other)) => panic!("{other:?}"),
            Ok(None) => break,
            Err(_) => failures += 1,
        }
        if failures < 3 && all.len() > 3 * MIB {
            desk.bucket.script(Op::Get, "", 1, Fault::Before(Kind::Unreachable));
        }
    }
    assert!(all == text);
    assert!(failures > 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_no_damage() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "070000", b"here\n", Form::Gzip);
    let file = desk.open(today()).await;
    for kind in [Kind::Unreachable, Kind::Throttled, Kind::Denied, Kind::Expired] {
        desk.bucket.script(Op::Get, "", 1, Fault::Before(kind));
        assert!(matches!(read(&file, 0, 5).await, Err(FsError::Bucket(_))));
    }
    assert_eq!(read_all(&file).await, b"here\n");
}

#[tokio::test(start_paused = true)]
async fn what_is_behind_a_fresh_gap_waits_a_minute_for_what_fills_it() {
    let desk = Desk::new();
    desk.plant("a", 1, 0, "080000", b"one\n", Form::Gzip);
    desk.plant("a", 1, 8, "083000", b"three\n", Form::Gzip);
    let file = desk.open(today()).await;
    assert_eq!(read_all(&file).await, b"one\n");
    desk.plant("a", 1, 4, "082900", b"two\n", Form::Gzip);
    tokio::time::advance(Duration::from_secs(10)).await;
    file.refresh(Duration::from_secs(10)).await.unwrap();
    assert_eq!(read_all(&file).await, b"one\ntwo\nthree\n");
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_are_found_from_the_end() {
    let desk = Desk::new();
    let text: Vec<u8> = (0..50_000).flat_map(|n| format!("line {n:06}\n").into_bytes()).collect();
    desk.plant("a", 1, 0, "070000", &text, Form::Gzip);
    desk.plant("a", 1, text.len() as u64, "080000", b"last\nunfinished", Form::Gzip);
    let file = desk.open(today()).await;
    for (lines, expected) in [(0, ""), (1, "unfinished"), (2, "last\nunfinished"), (3, "line 049999\nlast\nunfinished")]
    {
        let found = file.last_lines(lines).await.unwrap();
        assert!(found.all);
        let shown = read(&file, found.begin, file.len() - found.begin).await.unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), expected, "{lines}");
    }
    let found = file.last_lines(49_002).await.unwrap();
    assert_eq!((found.begin, found.all), (12_000, true));
    assert_eq!(file.last_lines(50_002).await.unwrap().begin, 0);
    assert!(!file.last_lines(50_003).await.unwrap().all);
}

#[tokio::test(start_paused = true)]
async fn a_million_segments_are_one_file_of_which_the_end_is_read_alone() {
    let bucket = Arc::new(Endless::new(1_000_000));
    let clock = Arc::new(TestClock::start());
    let source = source(bucket.clone(), clock.clone(), false);
    let open = |span| {
        let wanted = DiscoveryScope { folder: bucket.folder().into(), span, writer: None, selection: None };
        StreamFile::open(source.clone(), wanted)
    };
    let file = open(everything()).await.unwrap();
    assert_eq!(file.len(), 100 << 30, "a hundred GiB");
    // The first page of all, which is not all, the folders, and the pages of each.
    assert_eq!((bucket.lists(), bucket.fetched()), (bucket.days_pages() + 2, 0));
    let found = file.last_lines(100).await.unwrap();
    assert!(found.all);
    let shown = read(&file, found.begin, file.len() - found.begin).await.unwrap();
    assert_eq!(shown.iter().filter(|b| **b == b'\n').count(), 100);
    assert!(shown.ends_with(b"of segment 00999999\n"));
    assert!(bucket.fetched() <= 300 << 10, "{} bytes were fetched", bucket.fetched());
    // The last hour alone: the folders, its two hours, the one before, and the one in which a clock may be that is
    // ahead.
    let before = bucket.lists();
    let hour = open(clock.now().minus(Duration::from_secs(3600))..Utc::LAST).await.unwrap();
    assert!(!hour.is_empty());
    assert_eq!(bucket.lists() - before, 1 + 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a stream was cut and stored, and whatever of it is damaged, any range of it reads as the whole does.
    #[test]
    fn any_range_reads_as_the_whole(
        cuts in proptest::collection::vec(
            (0..2usize, 1..3u64, 1..40_000usize, 0..3usize, 0..4usize), 1..12,
        ),
        ranges in proptest::collection::vec((any::<prop::sample::Index>(), 1..70_000u64), 1..8),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let desk = Desk::new();
            let (mut ends, mut damaged) = (std::collections::BTreeMap::new(), false);
            for (number, (writer, generation, len, form, damage)) in cuts.into_iter().enumerate() {
                let end: &mut u64 = ends.entry((writer, generation)).or_default();
                let text: Vec<u8> = (0..len).map(|n| b'a' + ((n * 7 + number) % 26) as u8).collect();
                let form = [Form::Plain, Form::Gzip, Form::Zstd][form];
                let start = format!("07{number:02}00");
                let key =
                    desk.plant(["a", "b"][writer], generation, *end, &start, &text, form);
                *end += len as u64;
                damaged |= damage == 0;
                if damage == 0 {
                    let stored = packed(&text, form);
                    let cut = Object::foreign(&stored[..stored.len() / 2]);
                    desk.bucket.inner().plant(&key, cut);
                }
            }
            let file = desk.open(everything()).await;
            let whole = if damaged { read_all(&file).await } else { walked(&file).await };
            assert_eq!(whole.len() as u64, file.len());
            for (from, len) in ranges {
                let from = from.index(whole.len());
                let to = whole.len().min(from + len as usize);
                let part = read(&file, from as u64, len).await.unwrap();
                assert!(part == whole[from..to], "{from}..{to}");
            }
        });
    }
}
