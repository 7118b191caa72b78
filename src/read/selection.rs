//! Which segments are read, by what only the bucket knows of them: the pod of a writer, from its registration, and the
//! labels of a generation, from the metadata of one of its objects. All segments of a generation have the labels of its
//! path.
//!
//! Invariant: each writer and each generation is asked for once.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::registration::registration;
use crate::format::object_metadata::LABEL;
use crate::format::timeline::Segment;
use crate::s3::bucket::Bucket;
use crate::types::bucket_error::{BucketError, Kind};
use crate::types::escape::escape_ascii;
use crate::types::ids::{GenerationNo, WriterId};

/// Requests at once.
const AT_ONCE: usize = 16;

type Generation = (String, Arc<WriterId>, GenerationNo);

/// What is selected, and what is known of it.
#[derive(Debug, Default)]
pub struct Selection {
    /// The pod of the writers.
    pub pod: Option<String>,
    /// Labels that all have to be there.
    pub labels: Vec<(String, String)>,
    writers: Mutex<HashMap<Arc<WriterId>, bool>>,
    generations: Mutex<HashMap<Generation, bool>>,
}

impl Selection {
    /// Nothing is known yet.
    pub fn new(pod: Option<String>, labels: Vec<(String, String)>) -> Selection {
        Selection { pod, labels, ..Selection::default() }
    }

    /// Leaves out the segments of a folder that are not selected.
    pub async fn retain(
        &self,
        bucket: &dyn Bucket,
        folder: &str,
        mut found: Vec<Segment>,
    ) -> Result<Vec<Segment>, BucketError> {
        if let Some(pod) = &self.pod {
            self.ask_writers(bucket, folder, pod, &found).await?;
            let writers = self.writers.lock();
            found.retain(|segment| writers.get(&segment.writer) == Some(&true));
        }
        if !self.labels.is_empty() {
            self.ask_generations(bucket, folder, &found).await?;
            let generations = self.generations.lock();
            found.retain(|segment| generations.get(&generation(folder, segment)) == Some(&true));
        }
        Ok(found)
    }

    async fn ask_writers(
        &self,
        bucket: &dyn Bucket,
        folder: &str,
        pod: &str,
        found: &[Segment],
    ) -> Result<(), BucketError> {
        let mut unknown: Vec<_> = {
            let known = self.writers.lock();
            found.iter().map(|s| s.writer.clone()).filter(|writer| !known.contains_key(writer)).collect()
        };
        unknown.sort_unstable();
        unknown.dedup();
        // Boxed, since the compiler cannot see otherwise that they may be sent between threads.
        let asked = unknown.into_iter().map(|writer| {
            let asked = async move {
                let registered = registration(bucket, folder, &writer).await?;
                Ok::<_, BucketError>((writer, registered.and_then(|r| r.pod).as_deref() == Some(pod)))
            };
            asked.boxed()
        });
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
        self.writers.lock().extend(answers);
        Ok(())
    }

    async fn ask_generations(&self, bucket: &dyn Bucket, folder: &str, found: &[Segment]) -> Result<(), BucketError> {
        let mut unknown: HashMap<Generation, String> = HashMap::new();
        {
            let known = self.generations.lock();
            for segment in found {
                let generation = generation(folder, segment);
                if !known.contains_key(&generation) {
                    unknown.entry(generation).or_insert_with(|| segment.object_in(folder).key);
                }
            }
        }
        let asked = unknown.into_iter().map(|(generation, key)| {
            let asked = async move {
                match bucket.head(&key).await {
                    Ok(head) => Ok((generation, self.has_labels(&head.metadata))),
                    Err(e) if e.kind == Kind::NotFound => Ok((generation, false)),
                    Err(e) => Err(e),
                }
            };
            asked.boxed()
        });
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
        self.generations.lock().extend(answers);
        Ok(())
    }

    fn has_labels(&self, metadata: &std::collections::BTreeMap<String, String>) -> bool {
        // S3 knows the names of metadata in lower case only.
        let value = |name: &str| metadata.get(&format!("{LABEL}{name}").to_lowercase());
        self.labels.iter().all(|(name, wanted)| value(name).is_some_and(|v| *v == escape_ascii(wanted.as_bytes())))
    }
}

fn generation(folder: &str, segment: &Segment) -> Generation {
    (folder.to_owned(), segment.writer.clone(), segment.generation)
}
