//! The flags of the commands that read streams without a mount: `cat`, `tail`, `ls`.

use std::time::Duration;

use clap::Args;

use super::files::FilesArgs;
use super::s3::S3Args;
use crate::settings::writer::Source;
use crate::types::duration::parse_interval;
use crate::types::ids::WriterId;
use crate::types::span::Moment;

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

/// Which part of a stream.
#[derive(Clone, Debug, Args)]
pub struct SpanArgs {
    /// Start: a time before now (`90m`, `7d`), a time in UTC (`2026-11-23T08`), or `all`.
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse)]
    pub since: Option<Moment>,
    /// End, in the same format; the whole of a UTC time such as `2026-11-23T08` is included.
    #[arg(long, value_name = "MOMENT", value_parser = Moment::parse)]
    pub until: Option<Moment>,
    /// Only this writer, by its id in the keys.
    #[arg(long, value_name = "WRITER")]
    pub writer: Option<WriterId>,
    /// Stop with an error at missing, dropped or damaged bytes, instead of printing a line that says so.
    #[arg(long)]
    pub strict: bool,
}

/// `logsinkfs cat`.
#[derive(Debug, Args)]
pub struct CatArgs {
    /// The stream or whole file.
    #[command(flatten)]
    pub location: LocationArgs,
    /// Which part of it.
    #[command(flatten)]
    pub span: SpanArgs,
}

/// `logsinkfs tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The stream or whole file.
    #[command(flatten)]
    pub location: LocationArgs,
    /// Which part of it.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Number of lines from the end; with +N, all lines from line N on.
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
    /// A directory, a stream or a whole file.
    #[command(flatten)]
    pub location: LocationArgs,
    /// Which part of the streams counts for the size with -l.
    #[command(flatten)]
    pub span: SpanArgs,
    /// Show each stream's uncompressed size and the time of its latest segment; of a whole file those of its newest
    /// version, and how many versions there are.
    #[arg(short, long)]
    pub long: bool,
}
