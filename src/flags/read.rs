//! The flags of the commands that read streams without a mount: `cat`, `tail`, `ls`.

use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use regex::bytes::RegexBuilder;

use super::files::FilesArgs;
use super::s3::S3Args;
use super::words::parse_label;
use crate::lines::colour::When;
use crate::lines::grep::GrepOptions;
use crate::lines::stamp::StampFormat;
use crate::settings::writer::Source;
use crate::types::duration::parse_interval;
use crate::types::ids::WriterId;
use crate::types::span::Moment;

/// Most lines around one that matches.
const CONTEXT_MAX: usize = 10_000;

/// Where to look.
#[derive(Clone, Debug, Args)]
pub struct LocationArgs {
    /// s3://BUCKET/PREFIX/PATH, or file:///DIR/PATH in the directory of an embedded bucket.
    #[arg(value_name = "LOCATION", value_parser = Source::parse)]
    pub location: Source,
    /// How S3 is reached.
    #[command(flatten)]
    pub s3: S3Args,
    /// Which configuration files are read.
    #[command(flatten)]
    pub files: FilesArgs,
}

/// Where to look, in several places.
#[derive(Clone, Debug, Args)]
pub struct LocationsArgs {
    /// s3://BUCKET/PREFIX/PATH, or file:///DIR/PATH in the directory of an embedded bucket. PATH may have globs (`*`,
    /// `?`, `[0-9]`, `{a,b}`, and `**` for any directories).
    #[arg(value_name = "LOCATION", value_parser = Source::parse, required = true)]
    pub locations: Vec<Source>,
    /// How S3 is reached.
    #[command(flatten)]
    pub s3: S3Args,
    /// Which configuration files are read.
    #[command(flatten)]
    pub files: FilesArgs,
}

/// Which part of a stream.
#[derive(Clone, Debug, Args)]
pub struct SpanArgs {
    /// Start: a time before now (`90m`, `7d`, `1w`), `today`, `yesterday`, `08:15`, `2026-11-23`, `2026-11-23T08:15`,
    /// `2026-11-23T08:15:02+01:00`, or `all`. UTC unless it says otherwise.
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse)]
    pub since: Option<Moment>,
    /// End, in the same format, or `now`; the whole of a time such as `2026-11-23T08` is included.
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse)]
    pub until: Option<Moment>,
    /// Times of --since and --until without a zone are local (TZ, /etc/localtime), not UTC.
    #[arg(long)]
    pub local: bool,
    /// Only this writer, by its id in the keys.
    #[arg(long, value_name = "WRITER")]
    pub writer: Option<WriterId>,
    /// Only writers of this pod, by what they registered.
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// Only logs with this label, by the metadata of their objects: a HEAD for each generation. Repeatable.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    pub label: Vec<(String, String)>,
    /// Stop with an error at missing, dropped or damaged bytes, instead of printing a line that says so.
    #[arg(long)]
    pub strict: bool,
}

/// Which lines, and how they are printed.
#[derive(Clone, Debug, Args)]
pub struct LineArgs {
    /// Of directories, everything below them.
    #[arg(short, long)]
    pub recursive: bool,
    /// How lines begin with their time, for --since and --until: as for strftime. Default: the common forms.
    #[arg(long, value_name = "STRFTIME", value_parser = StampFormat::parse, help_heading = "Lines")]
    pub time_format: Option<StampFormat>,
    /// The zone of times in lines that name none: `UTC`, `local` or a name such as `Europe/Berlin`.
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = parse_zone, help_heading = "Lines")]
    pub line_zone: TimeZone,
    /// Only lines that match.
    #[arg(long, value_name = "REGEX", help_heading = "Lines")]
    pub grep: Option<String>,
    /// With --grep, upper and lower case are the same.
    #[arg(short, long, requires = "grep", help_heading = "Lines")]
    pub ignore_case: bool,
    /// With --grep, the lines that do not match.
    #[arg(short = 'v', long, requires = "grep", help_heading = "Lines")]
    pub invert_match: bool,
    /// With --grep, so many lines behind each that matches too.
    #[arg(short = 'A', long, value_name = "N", requires = "grep", help_heading = "Lines")]
    pub after_context: Option<usize>,
    /// With --grep, so many lines before each that matches too.
    #[arg(short = 'B', long, value_name = "N", requires = "grep", help_heading = "Lines")]
    pub before_context: Option<usize>,
    /// With --grep, so many lines on both sides.
    #[arg(short = 'C', long, value_name = "N", requires = "grep", help_heading = "Lines")]
    pub context: Option<usize>,
    /// Print the path before each line. Default: if there are several.
    #[arg(short = 'H', long, help_heading = "Output")]
    pub with_filename: bool,
    /// Never print the path before a line.
    #[arg(long, conflicts_with = "with_filename", help_heading = "Output")]
    pub no_filename: bool,
    /// Print the writer before each line.
    #[arg(long, help_heading = "Output")]
    pub writers: bool,
    /// Print each line as an object of JSON: stream, writer, generation, offset, time, line (or line_base64).
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Colour paths and writers. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    pub color: When,
}

impl LineArgs {
    /// What --grep and its options ask for.
    pub fn grep(&self) -> Result<Option<GrepOptions>, String> {
        let Some(pattern) = &self.grep else { return Ok(None) };
        let pattern = RegexBuilder::new(pattern).case_insensitive(self.ignore_case).build();
        let around = |own: Option<usize>| own.or(self.context).unwrap_or(0).min(CONTEXT_MAX);
        Ok(Some(GrepOptions {
            pattern: pattern.map_err(|e| e.to_string())?,
            invert: self.invert_match,
            before: around(self.before_context),
            after: around(self.after_context),
        }))
    }
}

/// Reads the zone of times.
fn parse_zone(text: &str) -> Result<TimeZone, String> {
    let zone = if text == "local" { TimeZone::try_system() } else { TimeZone::get(text) };
    zone.map_err(|e| format!("{e}; give `UTC`, `local` or a name of the system's zone database (package tzdata)"))
}

/// `logsinkfs cat`.
#[derive(Debug, Args)]
pub struct CatArgs {
    /// The streams and whole files.
    #[command(flatten)]
    pub locations: LocationsArgs,
    /// Which part of them.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Which lines, and how.
    #[command(flatten)]
    pub lines: LineArgs,
    /// Print the lines of all streams in the order of their times, instead of one stream after the other.
    #[arg(long)]
    pub merge: bool,
}

/// `logsinkfs tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The streams and whole files.
    #[command(flatten)]
    pub locations: LocationsArgs,
    /// Which part of them.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Which lines, and how.
    #[command(flatten)]
    pub print: LineArgs,
    /// Number of lines from the end of each; with +N, all lines from line N on.
    #[arg(short = 'n', long, value_name = "[+]N", default_value = "10", value_parser = Lines::parse)]
    #[arg(allow_hyphen_values = true)]
    pub lines: Lines,
    /// Keep printing new lines, until interrupted or until the time of --until is over. A whole file does not grow.
    #[arg(short, long)]
    pub follow: bool,
    /// Like -f, and wait for a stream or whole file that does not exist yet.
    #[arg(short = 'F', long)]
    pub retry: bool,
    /// With -f, how often to poll the bucket: two LIST requests each time.
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = parse_interval)]
    pub sleep_interval: Duration,
}

/// Which lines, counted as by tail(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// So many at the end.
    Last(u64),
    /// From this one on, which is 1 at the beginning.
    From(u64),
}

impl Lines {
    fn parse(text: &str) -> Result<Lines, String> {
        let (lines, number): (fn(u64) -> Lines, _) = match text.strip_prefix('+') {
            Some(number) => (Lines::From, number),
            None => (Lines::Last, text.strip_prefix('-').unwrap_or(text)),
        };
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| digits);
        number.map(lines).ok_or_else(|| format!("`{text}` is neither a number N nor +N"))
    }
}

/// `logsinkfs ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Directories, streams and whole files.
    #[command(flatten)]
    pub locations: LocationsArgs,
    /// Which part of the streams counts for the size with -l.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Show each stream's uncompressed size and the time of its latest segment; of a whole file those of its newest
    /// version. Behind the name, how many segments and writers, or versions, there are.
    #[arg(short, long)]
    pub long: bool,
    /// List directories in directories too.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// With -l, sizes as people read them: `1.5MiB`.
    #[arg(long)]
    pub human: bool,
    /// Print each as an object of JSON, with all that -l shows.
    #[arg(long)]
    pub json: bool,
}
