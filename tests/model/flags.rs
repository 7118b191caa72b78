//! Whatever stands on the command line: it is taken or refused with words, and what is taken means what was said.

use clap::{CommandFactory, Parser};
use logsinkfs::flags::{Cli, Command};
use logsinkfs::format::naming::{Form, SegmentName};
use logsinkfs::format::stream_map::stream_of;
use logsinkfs::settings::writer::{Settings, Source};
use logsinkfs::types::ids::GenerationNo;
use logsinkfs::types::time::Utc;
use proptest::prelude::*;

/// Pieces of values that come near to something.
const PIECES: [&str; 40] = [
    "0",
    "1",
    "9",
    "-1",
    "18446744073709551616",
    ".5",
    "e9",
    "KiB",
    "MiB",
    "GiB",
    "PiB",
    "s",
    "m",
    "h",
    "d",
    "ms",
    "%",
    "%Y",
    "%m",
    "%H",
    "dt=",
    "/",
    "//",
    "..",
    ".segments",
    "*",
    "**",
    "[a-",
    "{",
    "(",
    "(?P<pod>",
    ")",
    "=",
    "$pod",
    "\\",
    " ",
    "minimal",
    "ü",
    "😀",
    "s3://b",
];

fn any_value() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..6);
    prop_oneof![3 => pieces.prop_map(|pieces| pieces.concat()), 1 => ".{0,40}"]
}

/// The flags of `mount` that take a value.
fn flags() -> Vec<String> {
    let cli = Cli::command();
    let mount = cli.find_subcommand("mount").unwrap();
    let taking = mount.get_arguments().filter(|arg| arg.get_action().takes_values());
    taking.filter_map(|arg| arg.get_long()).map(str::to_owned).collect()
}

fn parse(args: &[&str]) -> Option<Settings> {
    let given = ["logsinkfs", "mount", "--spool-dir=/spool", "s3://b/p", "/mnt"].iter();
    let args = given.take(2).chain(args).chain(["--spool-dir=/spool", "s3://b/p", "/mnt"].iter());
    match Cli::try_parse_from(args.copied().collect::<Vec<_>>()).ok()?.command {
        Command::Mount(args) => args.settings().ok(),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_of_a_flag_does_harm(
        flag in prop::sample::select(flags()),
        value in any_value(),
        path in "[a-z/.%ü ]{1,30}",
        micros in 0..253_402_207_200_000_000i64,
    ) {
        let Some(settings) = parse(&[&format!("--{flag}={value}")]) else { return Ok(()) };
        // Whatever the partition and the rules are, the key of a segment reads back.
        let (map, labels) = (&settings.routing.stream_map, &settings.routing.labels);
        let stream = stream_of(map, labels, path.trim_matches('/').as_bytes());
        let start = Utc::from_micros(micros);
        let name = SegmentName {
            stream: stream.path,
            partition: settings.spool.segmenting.partition.of(start),
            start,
            writer: "w".parse().unwrap(),
            generation: GenerationNo(1),
            offset: 0,
            length: 1,
            partial: false,
            form: settings.spool.segmenting.form,
        };
        prop_assume!(!name.stream.is_empty());
        let key = name.key("p/");
        prop_assert_eq!(SegmentName::parse("p/", &key), Some(name), "{}", key);
        prop_assert!(settings.spool.segmenting.form != Form::Dropped);
        prop_assert!(settings.spool.segmenting.rules.size > 0);
    }

    #[test]
    fn a_source_reads_back_from_what_the_spool_remembers(
        text in prop_oneof![any_value(), any_value().prop_map(|v| format!("s3://{v}")), any_value().prop_map(|v| format!("file:///{v}"))],
    ) {
        if let Ok(source) = Source::parse(&text) {
            prop_assert_eq!(Source::from_url(&source.url()).ok(), Some(source));
        }
    }
}
