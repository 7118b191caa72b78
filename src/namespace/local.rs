//! Files that are never uploaded, and why.

use super::Namespace;
use crate::spool::record::Content;
use crate::types::ids::NodeId;

/// Why a file stays local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyLocal {
    /// `--exclude` names it.
    Excluded,
    /// It is a whole file, and these stay local.
    Whole,
    /// It is a copy of a log.
    Copy,
}

impl WhyLocal {
    /// All of them.
    pub const ALL: [WhyLocal; 3] = [WhyLocal::Excluded, WhyLocal::Whole, WhyLocal::Copy];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            WhyLocal::Excluded => "excluded",
            WhyLocal::Whole => "whole",
            WhyLocal::Copy => "copy",
        }
    }

    /// In a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            WhyLocal::Excluded => "excluded by its name",
            WhyLocal::Whole => "a whole file, and these are kept local (--whole none)",
            WhyLocal::Copy => "a copy of a log of this mount, which S3 gets as the log",
        }
    }

    /// That of a file, if it stays local.
    pub fn of(content: Content) -> Option<WhyLocal> {
        match content {
            Content::Log | Content::Whole => None,
            Content::Local => Some(WhyLocal::Whole),
            Content::Copy => Some(WhyLocal::Copy),
        }
    }
}

/// A file that stays local.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// Its node.
    pub id: NodeId,
    /// Its bytes.
    pub bytes: u64,
    /// Why.
    pub why: WhyLocal,
}

impl Namespace {
    /// The files that stay local.
    pub fn each_local_file(&self) -> Vec<Local> {
        let excluded = self.each_excluded_file().into_iter();
        let excluded = excluded.map(|(id, bytes)| Local { id, bytes, why: WhyLocal::Excluded });
        let others = self.logs().into_iter().filter_map(|log| {
            let current = log.state().current();
            let why = WhyLocal::of(current.content)?;
            let bytes = log.len().unwrap_or_default().since(current.at);
            Some(Local { id: log.id, bytes, why })
        });
        excluded.chain(others).collect()
    }

    /// Number and bytes of the files that S3 does not get. It has the bytes of copies as those of the logs.
    pub fn local_files(&self) -> (usize, u64) {
        let files = self.each_local_file().into_iter().filter(|file| file.why != WhyLocal::Copy);
        files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.bytes))
    }
}
