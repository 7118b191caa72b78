//! What the daemons of these tests are told, unless a test changes it.

use std::path::PathBuf;
use std::time::Duration;

use logsinkfs::format::naming::Form;
use logsinkfs::format::partition::PartitionTemplate;
use logsinkfs::settings::writer::{
    FsyncLevel, Levels, Ownership, Routing, S3Settings, Segmenting, Settings, Source, SpoolLimits, SpoolSettings, View,
    WhenFull, WritePath,
};
use logsinkfs::types::freshness::Freshness;
use logsinkfs::types::globs::{EXCLUDE, Globs, WHOLE};
use logsinkfs::types::processes::{Keeping, Processes};
use logsinkfs::types::rotation::Rules;

use logsinkfs::format::stream_map::Labels;

use super::daemon::PREFIX;

/// Settings with which nothing is sealed early by chance: the program's defaults but for the size.
pub fn settings() -> Settings {
    let exclude = Globs::parse(EXCLUDE, ["+*.gz"]).unwrap();
    let whole = Globs::parse(WHOLE, []).unwrap();
    Settings {
        spool: SpoolSettings {
            source: Source::S3 { bucket: "bucket".into(), prefix: PREFIX.into() },
            dir: PathBuf::new(),
            writer_name: "web".into(),
            segmenting: Segmenting {
                rules: Rules { size: 64 << 10, interval: Duration::from_secs(300), idle: Duration::from_secs(5) },
                record_start: None,
                partition: PartitionTemplate::parse("dt=%Y-%m-%d/hour=%H").unwrap(),
                form: Form::Gzip,
                levels: Levels::default(),
                keep_whole: false,
            },
            limits: SpoolLimits {
                max: Some(64 << 20),
                whole_max: None,
                // How full the machine's disk is must not matter.
                min_free_percent: 0,
                names_max: 64 << 20,
                when_full: WhenFull::Error,
            },
            retire_after: Duration::from_secs(24 * 3600),
            freshness: Freshness { listed: Duration::from_secs(60), absent: Duration::from_secs(60) },
            s3: S3Settings::default(),
            ownership: Ownership { uid: 0, gid: 0, file_mode: 0o644, dir_mode: 0o755 },
        },
        mountpoint: PathBuf::new(),
        view: View::Live,
        routing: Routing { stream_map: Vec::new(), labels: Labels::new(), exclude, whole },
        strict_append: false,
        fsync: FsyncLevel::Spool,
        shutdown_timeout: Duration::from_secs(25),
        require_bucket: false,
        allow_other: false,
        write_path: WritePath::Daemon,
        admin: None,
        processes: Processes {
            keeping: Keeping::None,
            socket: None,
            run_as: None,
            patience: Duration::from_secs(30),
            guard: None,
        },
    }
}
