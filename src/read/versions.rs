//! Finds the versions of a whole file, by LIST alone: the newest is what the file shows.
//!
//! Invariant: however many there are, one is in memory.

use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;

use super::discover::DiscoveryScope;
use crate::format::timeline::Segment;
use crate::format::whole_name::WholeName;
use crate::s3::bucket::{Bucket, Depth, pages};
use crate::types::bucket_error::BucketError;
use crate::types::stored_object::StoredObject;

/// A version of a whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What its key says.
    pub name: WholeName,
    /// Its object, as it was listed.
    pub object: StoredObject,
}

impl Version {
    /// The version as the only segment of a stream, for those who read streams.
    pub fn segment(&self) -> Segment {
        let (name, object) = (&self.name, &self.object);
        Segment {
            writer: Arc::new(name.writer.clone()),
            partition: name.partition.as_str().into(),
            generation: name.number,
            offset: 0,
            length: name.length,
            start: name.start,
            partial: name.partial,
            form: name.form,
            stored: object.size,
            modified: object.modified,
            whole: Some(Arc::new(object.clone())),
        }
    }
}

/// The versions of a whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// How many there are in all.
    pub count: u64,
    /// The newest of those that were asked for.
    pub newest: Option<Arc<Version>>,
}

impl Versions {
    /// All that are in the scope's folder, and the newest that began in its span, by its writer.
    pub async fn find(bucket: &dyn Bucket, scope: &DiscoveryScope) -> Result<Versions, BucketError> {
        let (mut count, mut newest) = (0, None::<Version>);
        if scope.selection.is_some() {
            // It has no labels, and is not looked for by pod.
            return Ok(Versions::default());
        }
        let mut pages = pin!(pages(bucket, scope.folder.clone(), Depth::All));
        while let Some(page) = pages.try_next().await? {
            for object in page.objects {
                let Some(name) = WholeName::parse_in(&scope.folder, &object.key) else { continue };
                count += 1;
                let asked = scope.span.contains(&name.start)
                    && scope.writer.as_ref().is_none_or(|only| *only == name.writer)
                    && newest.as_ref().is_none_or(|newest| newest.name.order() < name.order());
                if asked {
                    newest = Some(Version { name, object });
                }
            }
        }
        Ok(Versions { count, newest: newest.map(Arc::new) })
    }
}
