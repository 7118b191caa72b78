//! The file system of a reader mount without a mount: what is shown can be looked up, what is asked of S3 is asked
//! once, and nobody waits for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use logsinkfs::format::naming::{Form, SegmentName};
use logsinkfs::format::partition::PartitionTemplate;
use logsinkfs::fs::{DEADLINE, FileKind};
use logsinkfs::listing::catalog::Catalog;
use logsinkfs::namespace::Attr;
use logsinkfs::read::objects::{BUDGET, Objects};
use logsinkfs::read::stream_file::{SETTLING, Source};
use logsinkfs::read::streams::REMEMBERED_MAX;
use logsinkfs::read::unpack_cache::UnpackCache;
use logsinkfs::reader_fs::{Entry, ReaderConfig, ReaderFs};
use logsinkfs::s3::bucket::Bucket;
use logsinkfs::settings::writer::Ownership;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::clock::Clock;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::freshness::Freshness;
use logsinkfs::types::ids::{GenerationNo, NodeId};
use logsinkfs::types::span::Moment;
use proptest::prelude::*;

use super::clock::TestClock;
use super::daemon::{PREFIX, answer, run};
use super::faulty::{Fault, Faulty, Gate, Op};
use super::listings::any_key;
use super::memory::{MemoryBucket, Object};

const TTL: Duration = Duration::from_secs(60);

struct Desk {
    bucket: Arc<Faulty<MemoryBucket>>,
    clock: Arc<TestClock>,
    fs: Arc<ReaderFs>,
}

impl Desk {
    fn new() -> Desk {
        Desk::remembering(REMEMBERED_MAX)
    }

    fn remembering(remembered: usize) -> Desk {
        let bucket = Arc::new(Faulty::new(MemoryBucket::new(1000)));
        let clock = Arc::new(TestClock::start());
        let runtime = tokio::runtime::Handle::current();
        let dynamic: Arc<dyn Bucket> = bucket.clone();
        let unpack_cache = UnpackCache::new(dynamic.clone(), std::env::temp_dir(), 64 << 20, runtime.clone());
        let objects = Objects::new(dynamic.clone(), runtime.clone(), BUDGET);
        let library = ReaderConfig {
            source: Source {
                bucket: dynamic,
                clock: clock.clone(),
                unpack_cache: Arc::new(unpack_cache),
                objects: Arc::new(objects),
                strict: false,
                settling: SETTLING,
            },
            catalog: Arc::new(Catalog::new(Freshness { listed: TTL, absent: TTL })),
            prefix: PREFIX.to_owned(),
            since: Moment::All,
            ttl: TTL,
            remembered,
            ownership: Ownership { uid: 1, gid: 2, file_mode: 0o640, dir_mode: 0o750 },
        };
        Desk { bucket, clock, fs: Arc::new(ReaderFs::new(library, runtime)) }
    }

    /// Plants a segment of so many minutes ago.
    fn plant(&self, stream: &str, offset: u64, minutes: u64, text: &str) {
        let start = self.clock.now().minus(Duration::from_secs(60 * minutes));
        let name = SegmentName {
            stream: stream.as_bytes().to_vec(),
            partition: PartitionTemplate::parse("dt=%Y-%m-%d/hour=%H").unwrap().of(start),
            start,
            writer: "web-1".parse().unwrap(),
            generation: GenerationNo(1),
            offset,
            length: text.len() as u64,
            partial: !text.ends_with('\n'),
            form: Form::Plain,
        };
        self.bucket.inner().plant(&name.key(PREFIX), Object::foreign(text.as_bytes()));
    }

    fn lists(&self) -> usize {
        self.bucket.calls_of(Op::List, "").len()
    }

    async fn find(&self, name: &str) -> Result<Attr, FsError> {
        Ok(answer(self.fs.lookup(NodeId::ROOT, name.as_bytes())).await?.attr)
    }

    async fn size(&self, id: NodeId) -> Result<u64, FsError> {
        Ok(answer(self.fs.getattr(id)).await?.0.size)
    }

    async fn entries(&self, id: NodeId) -> Vec<Entry> {
        let handle = self.fs.opendir(id).unwrap();
        let entries = answer(self.fs.readdir(handle, 0)).await.unwrap();
        self.fs.release(handle);
        entries.iter().skip(2).cloned().collect()
    }

    async fn read(&self, id: NodeId) -> Vec<u8> {
        let (handle, _) = answer(self.fs.open(id, false)).await.unwrap();
        let bytes = answer(self.fs.read(handle, 0, 1 << 20)).await.unwrap();
        self.fs.release(handle);
        bytes.to_vec()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_keys_there_are_what_is_shown_can_be_looked_up_and_read(
        keys in prop::collection::vec(any_key(), 0..30),
    ) {
        run(async {
            let desk = Desk::new();
            for key in &keys {
                desk.bucket.inner().plant(&format!("{PREFIX}{key}"), Object::foreign(b"stored"));
            }
            let mut folders = vec![NodeId::ROOT];
            while let Some(folder) = folders.pop() {
                let shown = desk.entries(folder).await;
                let names: BTreeSet<_> = shown.iter().map(|entry| &entry.name).collect();
                assert_eq!(names.len(), shown.len(), "no name is there twice");
                for entry in &shown {
                    let name = &entry.name;
                    assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
                    assert!(!name.contains(&b'/') && !name.contains(&0), "{name:?}");
                    assert!(name != b"." && name != b"..", "{name:?}");
                    let found = answer(desk.fs.lookup(folder, name)).await.unwrap().attr;
                    assert_eq!(found.kind, entry.kind, "{name:?}");
                    match found.kind {
                        FileKind::Directory => folders.push(found.id),
                        _ => assert_eq!(desk.read(found.id).await.len() as u64, found.size),
                    }
                }
            }
        });
    }
}

#[test]
fn all_who_ask_at_once_share_one_look() {
    run(async {
        let desk = Desk::new();
        desk.plant("app.log", 0, 10, "line\n");
        desk.plant("other.log", 0, 10, "line\n");
        desk.find("other.log").await.unwrap();
        let one = desk.bucket.calls_of(Op::List, "other.log").len();
        let gate = Gate::closed();
        desk.bucket.script(Op::List, "app.log", 1000, Fault::HeldBefore(gate.clone()));
        let all = futures_util::future::join_all((0..50).map(|_| desk.find("app.log")));
        let opened = async {
            gate.reached(1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            gate.open();
        };
        for found in futures_util::future::join(all, opened).await.0 {
            assert_eq!(found.unwrap().size, 5);
        }
        assert_eq!(desk.bucket.calls_of(Op::List, "app.log").len(), one, "as one who asks alone");
        let id = desk.find("app.log").await.unwrap().id;
        tokio::time::sleep(TTL).await;
        let all = (0..50).map(|_| desk.size(id));
        for size in futures_util::future::join_all(all).await {
            assert_eq!(size.unwrap(), 5);
        }
        assert_eq!(desk.bucket.calls_of(Op::List, "app.log").len(), one + 2);
    });
}

#[test]
fn what_is_open_grows_and_what_is_past_is_asked_about_less_often() {
    run(async {
        let desk = Desk::new();
        desk.plant("app.log", 0, 300, "old\n");
        let log = desk.find("app.log").await.unwrap().id;
        let slice = desk.find("app.log@2026-11-23T03").await.unwrap().id;
        assert_eq!(desk.read(slice).await, b"old\n");
        let (handle, _) = answer(desk.fs.open(log, false)).await.unwrap();
        let read = |at| answer(desk.fs.read(handle, at, 100));
        assert_eq!(&*read(0).await.unwrap(), b"old\n");
        desk.plant("app.log", 4, 1, "new\n");
        assert_eq!(&*read(4).await.unwrap(), b"", "believed");
        tokio::time::sleep(TTL).await;
        assert_eq!(&*read(4).await.unwrap(), b"new\n", "whoever reads at the end is told");
        let lists = desk.lists();
        assert_eq!(desk.size(slice).await.unwrap(), 4);
        assert_eq!(desk.lists(), lists);
        assert_eq!(answer(desk.fs.getattr(slice)).await.unwrap().1, TTL);
        assert_eq!(answer(desk.fs.getattr(log)).await.unwrap().1, Duration::ZERO);
    });
}

#[test]
fn nobody_waits_longer_than_the_deadline_and_what_is_known_is_told_much_sooner() {
    run(async {
        let desk = Desk::new();
        desk.plant("app.log", 0, 10, "line\n");
        desk.plant("other.log", 0, 10, "line\n");
        let log = desk.find("app.log").await.unwrap().id;
        tokio::time::sleep(TTL).await;
        let silent = Gate::closed();
        desk.bucket.script(Op::List, "", 20, Fault::HeldBefore(silent.clone()));
        let began = desk.clock.monotonic();
        assert_eq!(desk.size(log).await.unwrap(), 5);
        let waited = desk.clock.monotonic().since(began);
        assert!(waited < DEADLINE / 2, "{waited:?}");
        let began = desk.clock.monotonic();
        assert!(desk.find("app.log@2026-11-23").await.is_err());
        let waited = desk.clock.monotonic().since(began);
        assert!(waited <= DEADLINE, "{waited:?}");
        silent.open();
        assert_eq!(desk.find("app.log@2026-11-23").await.unwrap().size, 5);
    });
}

#[test]
fn a_directory_is_listed_whole_also_while_the_sizes_of_some_logs_cannot_be_had() {
    run(async {
        let desk = Desk::new();
        for name in ["a.log", "b.log", "c.log"] {
            desk.plant(name, 0, 10, "line\n");
        }
        let denied = "logs/b.log.segments/";
        desk.bucket.script(Op::List, denied, 1, Fault::Before(Kind::Denied));
        let handle = desk.fs.opendir(NodeId::ROOT).unwrap();
        let sized = answer(desk.fs.readdirplus(handle, 0)).await.unwrap();
        let names: Vec<_> = sized.iter().map(|s| String::from_utf8_lossy(&s.entry.name)).collect();
        let logs = ["a.log", "a.log.segments", "b.log", "b.log.segments", "c.log"];
        assert_eq!(names[2..7], logs);
        let (whole, unknown) = (desk.fs.enter(&sized[2]), desk.fs.enter(&sized[4]));
        assert_eq!((whole.attr.size, unknown.attr.size), (5, 0));
        assert!(whole.name_ttl > Duration::ZERO);
        assert_eq!(unknown.name_ttl, Duration::ZERO, "it is asked for by name");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(desk.find("b.log").await.unwrap().size, 5);
        // From an offset on it goes on, and rewound it begins anew.
        let rest = answer(desk.fs.readdirplus(handle, 5)).await.unwrap();
        assert_eq!(rest[0].entry.name, b"b.log.segments");
        desk.fs.take_back(&sized[2], &whole);
        assert!(answer(desk.fs.getattr(whole.attr.id)).await.is_err(), "it is forgotten");
    });
}

#[test]
fn names_alone_are_those_that_a_look_up_finds_also_beside_folders_named_like_those_of_whole_files() {
    run(async {
        let desk = Desk::new();
        for key in ["page.files/style.css", "app.files/notes.txt", "app"] {
            desk.bucket.inner().plant(&format!("{PREFIX}{key}"), Object::foreign(b"mine"));
        }
        let whole = "core.files/20261123T081502.123456Z_web-1_00000001_000000000004";
        desk.bucket.inner().plant(&format!("{PREFIX}{whole}"), Object::foreign(b"ELF."));
        let entries = desk.entries(NodeId::ROOT).await;
        let names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
        assert_eq!(names, ["app", "app.files", "core", "core.files", "page.files"]);
        for name in &names {
            assert!(desk.find(name).await.is_ok(), "{name}");
        }
    });
}

#[test]
fn so_many_streams_are_remembered_and_those_that_are_open() {
    run(async {
        let desk = Desk::remembering(100);
        let names: Vec<String> = (0..30).map(|n| format!("app-{n}.log")).collect();
        for name in &names {
            desk.plant(name, 0, 10, "line\n");
        }
        let first = desk.find(&names[0]).await.unwrap().id;
        let (handle, _) = answer(desk.fs.open(first, false)).await.unwrap();
        for name in &names {
            desk.find(name).await.unwrap();
        }
        let lists = desk.lists();
        for name in [&names[0], &names[29], &names[28]] {
            desk.find(name).await.unwrap();
        }
        assert_eq!(desk.lists(), lists, "the open one, and the last");
        desk.find(&names[1]).await.unwrap();
        assert!(desk.lists() > lists, "others are looked for again");
        desk.fs.release(handle);
        for name in &names[2..20] {
            desk.find(name).await.unwrap();
        }
        let lists = desk.lists();
        desk.find(&names[0]).await.unwrap();
        assert!(desk.lists() > lists, "once closed, it is forgotten like the others");
    });
}

#[test]
fn nothing_is_opened_for_writing_and_no_mode_says_that_it_could_be() {
    run(async {
        let desk = Desk::new();
        desk.plant("app.log", 0, 10, "line\n");
        desk.bucket.inner().plant("logs/notes.txt", Object::foreign(b"notes"));
        for name in ["app.log", "notes.txt"] {
            let attr = desk.find(name).await.unwrap();
            assert_eq!((attr.mode, attr.uid, attr.gid), (0o440, 1, 2));
            let opened = answer(desk.fs.open(attr.id, true)).await;
            assert!(matches!(opened, Err(FsError::ReadOnly)), "{name}");
        }
        let root = answer(desk.fs.getattr(NodeId::ROOT)).await.unwrap().0;
        assert_eq!((root.kind, root.mode), (FileKind::Directory, 0o550));
        assert_eq!(desk.find("app.log").await.unwrap().times.modified, {
            desk.clock.now().minus(Duration::from_secs(600)).into()
        });
        assert!(matches!(desk.find("other").await, Err(FsError::NotFound)));
        assert!(matches!(desk.find(&"o".repeat(256)).await, Err(FsError::NameTooLong)));
    });
}
