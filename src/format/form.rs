//! The form of an object's bytes (plain, gzip, zstd): suffix, content type, and the most it can decompress to.

/// How an object's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// As appended.
    Plain,
    /// One gzip member.
    Gzip,
    /// One zstd frame.
    Zstd,
    /// Zero bytes: a mark for a range that was dropped.
    Dropped,
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 4] = [Form::Plain, Form::Gzip, Form::Zstd, Form::Dropped];

    /// How the names of such objects end.
    pub fn suffix(self) -> &'static str {
        match self {
            Form::Plain => ".log",
            Form::Gzip => ".log.gz",
            Form::Zstd => ".log.zst",
            Form::Dropped => ".dropped",
        }
    }

    /// How the name of a whole file ends that is stored in this form: what the program has compressed it with.
    pub fn compression(self) -> &'static str {
        match self {
            Form::Plain | Form::Dropped => "",
            Form::Gzip => ".gz",
            Form::Zstd => ".zst",
        }
    }

    /// Bytes that an object of so many holds at most. Deflate makes 258 bytes of two bits (RFC 1951), zstd a block of
    /// 128 KiB of four bytes (RFC 8878).
    pub fn holds_at_most(self, stored: u64) -> u64 {
        let ratio = match self {
            Form::Plain => 1,
            Form::Gzip => 1_032,
            Form::Zstd => 32_768,
            Form::Dropped => 0,
        };
        stored.saturating_mul(ratio)
    }

    /// Bytes of the largest object that is read for so many: no compressor makes more of them.
    pub fn stored_at_most(self, length: u64) -> u64 {
        match self {
            Form::Plain => length,
            Form::Gzip | Form::Zstd => length.saturating_add(length / 8 + 64 * 1024),
            Form::Dropped => 0,
        }
    }

    /// The Content-Type that goes with the suffix (RFC 6713 for gzip, RFC 8878 for zstd). There is no Content-Encoding:
    /// an object downloads as what its name says.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Plain | Form::Dropped => "text/plain; charset=utf-8",
            Form::Gzip => "application/gzip",
            Form::Zstd => "application/zstd",
        }
    }
}
