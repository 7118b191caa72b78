//! Streams read where nothing can be unpacked: the cache is full, gone, or smaller than a segment.

use std::path::Path;
use std::sync::Arc;

use logsinkfs::format::naming::Form;
use logsinkfs::format::timeline::Content;
use logsinkfs::read::stream_file::Source;
use logsinkfs::read::unpack_cache::UnpackCache;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::memory::Object;
use super::reading::{Desk, FOLDER, MIB, everything, packed, read, read_all, text_from, walked};

impl Desk {
    /// Who reads unpacks into `dir`, and keeps so many bytes there.
    pub fn unpacking_into(mut self, dir: &Path, budget: u64) -> Desk {
        let bucket = self.source.bucket.clone();
        let runtime = tokio::runtime::Handle::current();
        let unpack_cache = Arc::new(UnpackCache::new(bucket, dir.to_owned(), budget, runtime));
        self.source = Source { unpack_cache, ..self.source };
        self
    }

    fn without_cache() -> Desk {
        Desk::new().unpacking_into(Path::new("/proc"), 64 << 20)
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_is_read_where_nothing_can_be_unpacked() {
    let desk = Desk::without_cache();
    let text = text_from(0, 24 * MIB);
    for (n, form) in [Form::Gzip, Form::Zstd, Form::Plain].into_iter().enumerate() {
        let part = &text[n * 8 * MIB..(n + 1) * 8 * MIB];
        desk.plant("a", 1, (n * 8 * MIB) as u64, &format!("0700{n:02}"), part, form);
    }
    let file = desk.open(everything()).await;
    assert!(read_all(&file).await == text);
    assert!(walked(&file).await == text);
    let last = file.last_lines(3).await.unwrap();
    assert_eq!(file.len() - last.begin, 48);
    // Who reads on has each byte fetched once, also where reads come side by side.
    let before = desk.bucket.calls().len();
    let (reader, size) = (Mutex::default(), 128 << 10);
    for at in (0..8 * MIB as u64).step_by(2 * size as usize) {
        for at in [at + u64::from(size), at] {
            let bytes = file.read(&reader, at, size).await.unwrap();
            assert!(bytes == text[at as usize..][..size as usize], "at {at}");
        }
    }
    let calls = desk.bucket.calls().into_iter().skip(before);
    let asked: u64 = calls.filter_map(|call| call.range).map(|range| range.end - range.start).sum();
    assert!(asked <= packed(&text[..8 * MIB], Form::Gzip).len() as u64, "{asked} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_larger_than_the_cache_is_not_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new().unpacking_into(dir.path(), MIB as u64);
    let text = text_from(0, 32 * MIB);
    desk.plant("a", 1, 0, "070000", &text, Form::Zstd);
    let file = desk.open(everything()).await;
    let reader = Mutex::default();
    assert!(file.read(&reader, 31 << 20, 1 << 20).await.unwrap() == text[31 * MIB..]);
    let Content::Bytes { segment, .. } = &file.places_from(0, 1)[0].content else { panic!() };
    assert!(desk.source.unpack_cache.cached(FOLDER, segment).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is damaged, and wherever one looks, with and without a cache one sees the same.
    #[test]
    fn any_range_reads_as_with_a_cache(
        cuts in prop::collection::vec((1..40_000usize, 0..3usize, 0..4usize), 1..6),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), 1..70_000u64), 1..8),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let desk = Desk::new();
            let mut end = 0;
            for (number, (len, form, damage)) in cuts.into_iter().enumerate() {
                let text: Vec<u8> = (0..len).map(|n| b'a' + ((n * 7 + number) % 26) as u8).collect();
                let form = [Form::Plain, Form::Gzip, Form::Zstd][form];
                let key = desk.plant("a", 1, end, &format!("07{number:02}00"), &text, form);
                end += len as u64;
                if damage == 0 {
                    let stored = packed(&text, form);
                    desk.bucket.inner().plant(&key, Object::foreign(&stored[..stored.len() / 2]));
                }
            }
            let whole = read_all(&desk.open(everything()).await).await;
            let desk = desk.unpacking_into(Path::new("/proc"), 64 << 20);
            let file = desk.open(everything()).await;
            assert!(read_all(&file).await == whole);
            let reader = Mutex::default();
            for (from, len) in ranges {
                let from = from.index(whole.len());
                let to = whole.len().min(from + len as usize);
                assert!(read(&file, from as u64, len).await.unwrap() == whole[from..to]);
                let seen = file.read(&reader, from as u64, len as u32).await.unwrap();
                assert!(seen == whole[from..to], "{from}..{to}");
            }
        });
    }
}
