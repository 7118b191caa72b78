//! A large range becomes one object in parts, or nothing: no bytes but those that were sealed, and no upload that is
//! left unfinished.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use logsinkfs::format::naming::Form;
use logsinkfs::log_file::SpoolFile;
use logsinkfs::s3::bucket::{Bucket, Conditional, NewUpload, ObjectProperties};
use logsinkfs::settings::writer::Levels;
use logsinkfs::types::bucket_error::{BucketError, Kind};
use logsinkfs::types::ids::{SpoolOffset, SpoolRange};
use logsinkfs::upload::multipart::{PartsTarget, SentInParts, put_in_parts};
use logsinkfs::upload::part_maker::Source;
use tokio::sync::Semaphore;

use super::daemon::run;
use super::faulty::{Call, Fault, Faulty, Gate, Op};
use super::memory::{MemoryBucket, Object};

const KEY: &str = "logs/heap.hprof.files/x.hprof";
/// More than what is gathered before it goes to a file.
const PART: u64 = 300 << 10;
/// What the range does not begin with.
const BEFORE: usize = 6;
/// A request in virtual time.
const MOMENT: Duration = Duration::from_secs(1);

/// A range of a file, a bucket, and how they come together.
struct Play {
    bucket: Arc<Faulty<MemoryBucket>>,
    bytes: Vec<u8>,
    file: Arc<File>,
    spool: tempfile::TempDir,
    /// Whether no file can be made in the spool.
    no_files: bool,
    puts: Semaphore,
    form: Form,
    conditional: Conditional,
    may_be_there: bool,
}

impl Play {
    /// So many parts of bytes that cannot be compressed, and some more.
    fn of(parts: usize, form: Form) -> Play {
        let mut state = 1_u64;
        let random = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        let bytes: Vec<u8> = (0..parts * PART as usize + 1000).map(random).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(&bytes).unwrap();
        file.write_all(b"after").unwrap();
        Play {
            bucket: Arc::new(Faulty::new(MemoryBucket::new(1000))),
            bytes,
            file: Arc::new(file),
            spool: tempfile::tempdir().unwrap(),
            no_files: false,
            puts: Semaphore::new(16),
            form,
            conditional: Conditional::Enforced,
            may_be_there: false,
        }
    }

    fn source(&self) -> Source {
        let crc64 = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &self.bytes);
        let (start, end) = (BEFORE as u64, (BEFORE + self.bytes.len()) as u64);
        Source {
            file: SpoolFile::from_start(self.file.clone()),
            path: "/spool/data".into(),
            range: SpoolRange { start: SpoolOffset(start), end: SpoolOffset(end) },
            form: self.form,
            levels: Levels::default(),
            crc64: format!("{crc64:016x}"),
            part_size: PART,
            spool: if self.no_files { "/nowhere".into() } else { self.spool.path().into() },
        }
    }

    async fn put(&self) -> Result<SentInParts, BucketError> {
        self.put_while(|| true).await
    }

    async fn put_while(&self, still_wanted: impl Fn() -> bool + Sync) -> Result<SentInParts, BucketError> {
        let to = PartsTarget {
            bucket: &*self.bucket,
            puts: &self.puts,
            conditional: self.conditional,
            may_be_there: self.may_be_there,
        };
        put_in_parts(to, &object(KEY), self.source(), still_wanted).await
    }

    async fn put_and_fail(&self) -> Kind {
        self.put().await.unwrap_err().kind
    }

    fn calls(&self, op: Op) -> Vec<Call> {
        self.bucket.calls_of(op, "")
    }

    /// The object as its reader has it.
    fn stored(&self) -> Option<Vec<u8>> {
        let object = self.bucket.inner().objects().remove(KEY)?;
        let mut bytes = Vec::new();
        match self.form {
            Form::Gzip => flate2::read::GzDecoder::new(&object.bytes[..]).read_to_end(&mut bytes).unwrap(),
            Form::Zstd => zstd::Decoder::new(&object.bytes[..]).unwrap().read_to_end(&mut bytes).unwrap(),
            Form::Plain | Form::Dropped => (&object.bytes[..]).read_to_end(&mut bytes).unwrap(),
        };
        Some(bytes)
    }

    fn assert_stored(&self) {
        assert!(self.stored().as_ref() == Some(&self.bytes), "the bytes that arrived are others");
        self.assert_nothing_unfinished();
    }

    fn assert_nothing_unfinished(&self) {
        assert_eq!(self.bucket.inner().unfinished(), 0, "an upload was left unfinished");
    }

    /// How many anonymous files of the spool this process has open.
    fn anonymous_files(&self) -> usize {
        let spool = self.spool.path().to_str().unwrap();
        let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with(spool)).count()
    }
}

fn object(key: &str) -> NewUpload {
    NewUpload {
        key: key.to_owned(),
        content_type: "application/octet-stream",
        metadata: BTreeMap::from([("crc64nvme".to_owned(), "0".to_owned())]),
        properties: ObjectProperties::default(),
    }
}

#[test]
fn plain_and_compressed_bytes_arrive_as_one_object_in_parts_of_one_size() {
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        run(async {
            let play = Play::of(9, form);
            let SentInParts::Stored(size) = play.put().await.unwrap() else { panic!("not stored") };
            play.assert_stored();
            let object = &play.bucket.inner().objects()[KEY];
            assert_eq!(size, object.bytes.len() as u64);
            assert_eq!(object.metadata["crc64nvme"], "0");
            assert_eq!(object.content_type, "application/octet-stream");
            let sizes = object.part_sizes();
            let (last, others) = sizes.split_last().unwrap();
            assert!(others.len() == 9 && others.iter().all(|size| *size == PART as usize), "{sizes:?}");
            assert!((1..=PART as usize).contains(last), "{sizes:?}");
            assert_eq!(play.anonymous_files(), 0);
        });
    }
}

#[test]
fn a_range_that_fits_into_one_part_or_fills_its_parts_arrives() {
    for length in [0, 1, PART as usize, 2 * PART as usize] {
        for form in [Form::Plain, Form::Gzip, Form::Zstd] {
            run(async {
                let mut play = Play::of(2, form);
                play.bytes.truncate(length);
                play.put().await.unwrap();
                play.assert_stored();
            });
        }
    }
}

#[test]
fn a_part_that_fails_is_sent_again_and_no_other() {
    let passing = [Kind::Unreachable, Kind::Throttled, Kind::Server, Kind::Busy, Kind::Refused, Kind::Expired];
    for kind in passing {
        for form in [Form::Plain, Form::Zstd] {
            run(async {
                let play = Play::of(6, form);
                play.bucket.script(Op::Part, "#3", 2, Fault::Before(kind.clone()));
                play.bucket.script(Op::Part, "#5", 1, Fault::After(kind.clone()));
                play.put().await.unwrap();
                play.assert_stored();
                assert_eq!(play.calls(Op::Part).len(), 7 + 3);
                assert_eq!(play.calls(Op::Begin).len(), 1);
            });
        }
    }
}

#[test]
fn a_part_that_goes_on_failing_has_the_whole_fail_with_its_reason_and_leaves_nothing() {
    for (kind, tries) in [(Kind::Throttled, 6), (Kind::Unreachable, 6), (Kind::Denied, 1), (Kind::NotFound, 1)] {
        run(async {
            let play = Play::of(6, Form::Gzip);
            play.bucket.script(Op::Part, "#3", 1000, Fault::Before(kind.clone()));
            assert_eq!(play.put_and_fail().await, kind);
            assert_eq!(play.bucket.calls_of(Op::Part, "#3").len(), tries);
            assert_eq!(play.calls(Op::Finish).len(), 0);
            play.assert_nothing_unfinished();
            // A part that was just being made is given up.
            tokio::time::sleep(MOMENT).await;
            assert_eq!((play.stored(), play.anonymous_files()), (None, 0));
            // The next attempt.
            play.bucket.heal();
            play.put().await.unwrap();
            play.assert_stored();
        });
    }
}

#[test]
fn an_object_that_has_the_key_is_not_overwritten() {
    run(async {
        let play = Play::of(3, Form::Plain);
        play.bucket.inner().plant(KEY, Object::foreign(b"theirs"));
        assert_eq!(play.put_and_fail().await, Kind::Exists);
        assert_eq!(play.stored().unwrap(), b"theirs");
        play.assert_nothing_unfinished();
    });
}

#[test]
fn where_the_service_ignores_conditions_the_key_is_looked_at_before_the_end() {
    run(async {
        let mut play = Play::of(3, Form::Plain);
        play.conditional = Conditional::Ignored;
        play.bucket.inner().plant(KEY, Object::foreign(b"theirs"));
        assert_eq!(play.put_and_fail().await, Kind::Exists);
        assert_eq!(play.calls(Op::Finish).len(), 0);
        play.assert_nothing_unfinished();
    });
}

#[test]
fn after_a_conflict_the_upload_is_begun_anew() {
    run(async {
        let play = Play::of(3, Form::Plain);
        play.bucket.script(Op::Finish, "", 1, Fault::Before(Kind::Busy));
        assert_eq!(play.put_and_fail().await, Kind::Busy);
        play.assert_nothing_unfinished();
        play.put().await.unwrap();
        play.assert_stored();
        assert_eq!((play.calls(Op::Begin).len(), play.calls(Op::Finish).len()), (2, 2));
    });
}

#[test]
fn an_end_that_fails_is_tried_again_without_the_parts() {
    for kind in [Kind::Unreachable, Kind::Throttled, Kind::Server] {
        run(async {
            let play = Play::of(3, Form::Plain);
            play.bucket.script(Op::Finish, "", 2, Fault::Before(kind.clone()));
            play.put().await.unwrap();
            play.assert_stored();
            assert_eq!((play.calls(Op::Part).len(), play.calls(Op::Finish).len()), (4, 3));
        });
    }
}

#[test]
fn a_lost_reply_to_the_end_is_found_by_the_next_attempt_before_it_sends_anything() {
    run(async {
        let mut play = Play::of(3, Form::Plain);
        play.bucket.script(Op::Finish, "", 1, Fault::After(Kind::Unreachable));
        let lost = play.put_and_fail().await;
        assert!(lost == Kind::Unreachable && lost.may_have_arrived(), "{lost:?}");
        play.assert_stored();
        play.may_be_there = true;
        assert_eq!(play.put_and_fail().await, Kind::Exists);
        assert_eq!((play.calls(Op::Begin).len(), play.calls(Op::Head).len()), (1, 1));
        // Where it may not be looked, all is sent again, and the end is refused.
        play.bucket.script(Op::Head, "", 1, Fault::Before(Kind::Denied));
        assert_eq!(play.put_and_fail().await, Kind::Exists);
        play.assert_stored();
    });
}

#[test]
fn other_bytes_than_were_sealed_are_not_made_an_object() {
    for form in [Form::Plain, Form::Gzip, Form::Zstd] {
        run(async {
            let play = Play::of(6, form);
            let last = (BEFORE + play.bytes.len() - 1) as u64;
            play.file.write_all_at(b"!", last).unwrap();
            assert_eq!(play.put().await.unwrap(), SentInParts::Damaged);
            assert_eq!(play.calls(Op::Finish).len(), 0);
            play.assert_nothing_unfinished();
            assert_eq!(play.stored(), None);
        });
    }
}

#[test]
fn bytes_that_change_while_they_are_sent_are_no_outage() {
    run(async {
        let play = Play::of(6, Form::Plain);
        let gate = Gate::closed();
        play.bucket.script(Op::Part, "#2", 1, Fault::HeldBefore(gate.clone()));
        let change = async {
            gate.reached(1).await;
            play.file.write_all_at(b"!!!!!!", PART + 100).unwrap();
            gate.open();
        };
        let (sent, ()) = tokio::join!(play.put(), change);
        assert_eq!(sent.unwrap(), SentInParts::Damaged);
        play.assert_nothing_unfinished();
    });
}

#[test]
fn what_is_not_wanted_any_more_is_aborted() {
    run(async {
        let play = Play::of(9, Form::Plain);
        let (gate, wanted) = (Gate::closed(), AtomicBool::new(true));
        play.bucket.script(Op::Part, "#10", 1, Fault::HeldBefore(gate.clone()));
        let change = async {
            gate.reached(1).await;
            wanted.store(false, Ordering::Relaxed);
            gate.open();
        };
        let (sent, ()) = tokio::join!(play.put_while(|| wanted.load(Ordering::Relaxed)), change);
        assert_eq!(sent.unwrap(), SentInParts::Unwanted);
        assert_eq!((play.calls(Op::Part).len(), play.calls(Op::Finish).len()), (10, 0));
        play.assert_nothing_unfinished();
        // And long before the end, no further part is made.
        assert_eq!(play.put_while(|| false).await.unwrap(), SentInParts::Unwanted);
        assert_eq!(play.calls(Op::Part).len(), 10);
        play.assert_nothing_unfinished();
    });
}

#[test]
fn what_a_daemon_that_died_left_unfinished_is_aborted_and_nothing_else() {
    run(async {
        let play = Play::of(3, Form::Plain);
        for key in [KEY, KEY, "logs/heap.hprof.files/x.hprof.gz"] {
            play.bucket.inner().begin_upload(&object(key)).await.unwrap();
        }
        // One more, whose beginning was not answered.
        play.bucket.script(Op::Begin, KEY, 1, Fault::After(Kind::Unreachable));
        assert_eq!(play.put_and_fail().await, Kind::Unreachable);
        assert_eq!(play.bucket.inner().unfinished(), 2, "the one that was not answered, and the other key's");
        play.put().await.unwrap();
        assert_eq!(play.bucket.inner().unfinished(), 1, "the other key's");
        assert!(play.stored().unwrap() == play.bytes);
    });
}

#[test]
fn rights_to_list_and_abort_uploads_are_not_needed() {
    for kind in [Kind::Denied, Kind::Unsupported, Kind::Refused] {
        run(async {
            let play = Play::of(3, Form::Plain);
            play.bucket.script(Op::Uploads, "", 1, Fault::Before(kind.clone()));
            play.put().await.unwrap();
            play.assert_stored();
        });
    }
    run(async {
        let play = Play::of(3, Form::Plain);
        play.bucket.inner().begin_upload(&object(KEY)).await.unwrap();
        play.bucket.script(Op::Abort, "", 1, Fault::Before(Kind::Denied));
        play.put().await.unwrap();
        assert!(play.stored().unwrap() == play.bytes);
    });
}

#[test]
fn an_outage_before_the_first_part_is_given_back_at_once() {
    for op in [Op::Uploads, Op::Begin] {
        run(async {
            let play = Play::of(3, Form::Plain);
            play.bucket.script(op, "", 1, Fault::Before(Kind::Unreachable));
            assert_eq!(play.put_and_fail().await, Kind::Unreachable);
            assert_eq!(play.calls(Op::Part).len(), 0);
            play.assert_nothing_unfinished();
        });
    }
}

#[test]
fn so_many_parts_are_under_way_and_no_more() {
    for (form, puts, most) in [(Form::Plain, 16, 8), (Form::Gzip, 16, 4), (Form::Zstd, 16, 4), (Form::Plain, 2, 2)] {
        run(async {
            let mut play = Play::of(12, form);
            play.puts = Semaphore::new(puts);
            let gate = Gate::closed();
            play.bucket.script(Op::Part, "", 1000, Fault::HeldBefore(gate.clone()));
            let look = async {
                gate.reached(most).await;
                tokio::time::sleep(MOMENT).await;
                assert_eq!(play.calls(Op::Part).len(), most, "{form:?}");
                // The next one is begun with the last bytes of a full one.
                let files = play.anonymous_files();
                assert!(files <= 5 && (files >= 4 || form == Form::Plain), "{files} files");
                gate.open();
            };
            let (sent, ()) = tokio::join!(play.put(), look);
            sent.unwrap();
            play.assert_stored();
            assert_eq!(play.puts.available_permits(), puts);
        });
    }
}

#[test]
fn on_a_disk_without_anonymous_files_one_part_is_in_memory_at_a_time() {
    run(async {
        let mut play = Play::of(6, Form::Gzip);
        play.no_files = true;
        let gate = Gate::closed();
        play.bucket.script(Op::Part, "#2", 1, Fault::HeldBefore(gate.clone()));
        let look = async {
            gate.reached(1).await;
            tokio::time::sleep(MOMENT).await;
            assert_eq!(play.calls(Op::Part).len(), 2);
            gate.open();
        };
        let (sent, ()) = tokio::join!(play.put(), look);
        sent.unwrap();
        play.assert_stored();
    });
}

#[test]
fn nothing_goes_on_when_the_attempt_is_given_up() {
    run(async {
        let play = Play::of(12, Form::Zstd);
        let gate = Gate::closed();
        play.bucket.script(Op::Part, "", 1000, Fault::HeldBefore(gate.clone()));
        tokio::select! {
            _ = play.put() => panic!("it went through a closed gate"),
            () = gate.reached(4) => {}
        }
        gate.open();
        tokio::time::sleep(MOMENT).await;
        assert_eq!(play.calls(Op::Part).len(), 4);
        assert!(play.calls(Op::Part).iter().all(|call| call.end.is_none()), "a part was sent");
        assert_eq!((play.anonymous_files(), play.puts.available_permits()), (0, 16));
        // The next attempt takes it away.
        play.bucket.heal();
        play.put().await.unwrap();
        play.assert_stored();
    });
}
