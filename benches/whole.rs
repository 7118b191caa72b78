//! How fast a large file is uploaded in parts, beside the bare AWS SDK: the same file, in parts of the same size over the
//! same number of connections, in turns within one run. The bucket stores in memory, since S3's disks are not ours: it
//! holds the file twice while the parts are put together.
//!
//! `cargo bench --bench whole -- --rounds 5 --mib 2048`

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot run should stop where it is, and measures with the machine's clock"
)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use common::{Bucket, CONNECTIONS, Spread, argument, own_cpu, own_memory, reset_own_peak};
use futures_util::stream::{self, StreamExt};
use logsinkfs::format::naming::Form;
use logsinkfs::log_file::SpoolFile;
use logsinkfs::s3::bucket::{Conditional, NewUpload, ObjectProperties};
use logsinkfs::s3::sdk::{FixedCredentials, S3Bucket};
use logsinkfs::settings::writer::{Levels, S3Settings};
use logsinkfs::types::ids::{SpoolOffset, SpoolRange};
use logsinkfs::upload::multipart::{PartsTarget, SentInParts, put_in_parts};
use logsinkfs::upload::part_maker::{Source, part_size};
use tokio::sync::Semaphore;

/// Who is measured.
const NAMES: [&str; 2] = ["bare SDK", "put_in_parts"];
const KEY: &str = "heap.hprof";
const MIB: u64 = 1 << 20;

fn main() {
    let (rounds, length) = (argument("rounds", 5), argument("mib", 2048) as u64 * MIB);
    let runtime = common::runtime();
    let scratch = common::scratch();
    let path = scratch.path().join("file");
    let crc64 = fill(&path, length);
    let mut rates: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut cpu: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut memory: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        // Each round begins with the other.
        for which in [round % 2, 1 - round % 2] {
            let stored = tempfile::tempdir_in("/dev/shm").unwrap();
            let bucket = Bucket::start(stored.path());
            reset_own_peak();
            let (before, begin) = (own_cpu(), Instant::now());
            match which {
                0 => runtime.block_on(by_sdk(&bucket, &path, length)),
                _ => runtime.block_on(in_parts(&bucket, &path, length, &crc64)),
            }
            let (took, used, peak) = (begin.elapsed(), own_cpu() - before, own_memory());
            assert_eq!(std::fs::metadata(stored.path().join(KEY)).unwrap().len(), length, "the object is there");
            report(round, which, took);
            rates[which].push(length as f64 / 1e6 / took.as_secs_f64());
            cpu[which].push(used);
            memory[which].push(peak / 1024.0);
        }
    }
    println!("| a file of {} MiB | MB/s | CPU s | memory MiB |", length / MIB);
    println!("|---|---|---|---|");
    for (which, name) in NAMES.iter().enumerate() {
        let [rate, cpu, memory] = [&rates, &cpu, &memory].map(|of| Spread::of(of[which].iter().copied()));
        println!("| {name} | {rate} | {cpu} | {memory} |");
    }
    let ratios = rates[1].iter().zip(&rates[0]).map(|(ours, sdk)| ours / sdk);
    println!("\nput_in_parts / bare SDK: {}", Spread::of(ratios));
}

fn report(round: usize, which: usize, took: Duration) {
    eprintln!("round {round}: {} took {took:?}", NAMES[which]);
}

/// Makes the file; gives its CRC-64/NVME as a marker has it.
fn fill(path: &Path, length: u64) -> String {
    let mut file = File::create(path).unwrap();
    let mut crc64 = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    for mebibyte in 0..length / MIB {
        let words = (0..MIB / 8).map(|word| (mebibyte << 32 | word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        crc64.update(&bytes);
        file.write_all(&bytes).unwrap();
    }
    file.sync_all().unwrap();
    format!("{:016x}", crc64.finalize())
}

/// As one would write it with the SDK: each part is a range of the file.
async fn by_sdk(bucket: &Bucket, path: &Path, length: u64) {
    let client = common::client(bucket);
    let begun = client.create_multipart_upload().bucket("logs").key(KEY);
    let id = begun.send().await.unwrap().upload_id.unwrap();
    let size = part_size(length);
    let parts = (0..length.div_ceil(size)).map(|n| {
        let (client, id) = (client.clone(), id.clone());
        async move {
            let part = Length::Exact(size.min(length - n * size));
            let body = ByteStream::read_from().path(path).offset(n * size).length(part).build().await.unwrap();
            let number = i32::try_from(n + 1).unwrap();
            let put = client.upload_part().bucket("logs").key(KEY).upload_id(id).part_number(number).body(body);
            let put = put.send().await.unwrap();
            CompletedPart::builder().part_number(number).set_e_tag(put.e_tag).build()
        }
    });
    let parts: Vec<CompletedPart> = stream::iter(parts).buffered(CONNECTIONS).collect().await;
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let finish = client.complete_multipart_upload().bucket("logs").key(KEY).upload_id(id);
    finish.if_none_match("*").multipart_upload(parts).send().await.unwrap();
}

async fn in_parts(bucket: &Bucket, path: &Path, length: u64, crc64: &str) {
    let settings = S3Settings {
        endpoint_url: Some(bucket.endpoint.clone()),
        region: Some("us-east-1".to_owned()),
        force_path_style: true,
        ..S3Settings::default()
    };
    let keys = FixedCredentials { access_key_id: bucket.id.clone(), secret_access_key: bucket.secret.clone() };
    let (bucket, puts) = (S3Bucket::new("logs", &settings, Some(keys)), Semaphore::new(CONNECTIONS));
    let object = NewUpload {
        key: KEY.to_owned(),
        content_type: "application/octet-stream",
        metadata: BTreeMap::new(),
        properties: ObjectProperties::default(),
    };
    let source = Source {
        file: SpoolFile::from_start(Arc::new(File::open(path).unwrap())),
        path: path.to_owned(),
        range: SpoolRange { start: SpoolOffset(0), end: SpoolOffset(length) },
        form: Form::Plain,
        levels: Levels::default(),
        crc64: crc64.to_owned(),
        part_size: part_size(length),
        spool: path.parent().unwrap().to_owned(),
    };
    let (conditional, may_be_there) = (Conditional::Enforced, false);
    let to = PartsTarget { bucket: &bucket, puts: &puts, conditional, may_be_there };
    let sent = put_in_parts(to, &object, source, || true).await.unwrap();
    assert_eq!(sent, SentInParts::Stored(length));
}
