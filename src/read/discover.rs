//! Finds the segments of a stream that began within a time span, by LIST alone. Owns which partitions are listed: those
//! that the span covers by the templates in writer registrations. Where no template is known everything is listed,
//! which costs more and finds the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tracing::debug;

use super::registration::registration;
use super::selection::Selection;
use crate::format::naming::SegmentName;
use crate::format::partition::PartitionTemplate;
use crate::format::timeline::Segment;
use crate::s3::bucket;
use crate::s3::bucket::{Bucket, Depth};
use crate::types::bucket_error::BucketError;
use crate::types::ids::WriterId;
use crate::types::stored_object::StoredObject;
use crate::types::time::Utc;

/// LISTs at once: a day of hours in two round trips.
const LISTS_AT_ONCE: usize = 16;
/// So many partitions of a folder are listed each for itself; of more the folder is listed as a whole first, since most
/// folders have one page.
const FEW: usize = 4;
/// How far the clock of a writer may be ahead of ours for its segments to be found at once; later they are all the
/// same.
const CLOCKS_AHEAD: Duration = Duration::from_secs(3600);
/// The template that writers have unless somebody chose another one.
const USUAL: &str = "dt=%Y-%m-%d/hour=%H";

/// Which stream, and what of it.
#[derive(Clone, Debug)]
pub struct DiscoveryScope {
    /// What all keys of the stream begin with, ending in `.segments/`.
    pub folder: String,
    /// When segments began; also the one that was under way at the beginning.
    pub span: Range<Utc>,
    /// Of this writer alone.
    pub writer: Option<WriterId>,
    /// Of these writers and generations alone.
    pub selection: Option<Arc<Selection>>,
}

/// Finds segments, and remembers what it learned on the way.
pub struct Discovery {
    bucket: Arc<dyn Bucket>,
    wanted: DiscoveryScope,
    templates: Vec<PartitionTemplate>,
    /// Folders that fit no template that is known, nor one that could be learned.
    odd: Vec<String>,
    writers: HashMap<WriterId, Arc<WriterId>>,
    partitions: HashMap<String, Arc<str>>,
}

/// What is to be listed.
enum Step {
    /// All below a prefix.
    All(String),
    /// What is below these prefixes, all of which are in a folder.
    Only(String, Vec<String>),
}

type Pages = BoxStream<'static, Result<Vec<StoredObject>, BucketError>>;

impl Discovery {
    /// Asks nobody anything yet.
    pub fn new(bucket: Arc<dyn Bucket>, wanted: DiscoveryScope) -> Discovery {
        let templates = PartitionTemplate::parse(USUAL).into_iter().collect();
        let (odd, writers, partitions) = Default::default();
        Discovery { bucket, wanted, templates, odd, writers, partitions }
    }

    /// What is looked for.
    pub fn wanted(&self) -> &DiscoveryScope {
        &self.wanted
    }

    /// All segments of the span that are there.
    pub async fn find(&mut self, now: Utc) -> Result<Vec<Segment>, BucketError> {
        let mut found = Vec::new();
        let mut work = Vec::new();
        let folder = self.wanted.folder.clone();
        if self.wanted.span.start == Utc::default() {
            // Of most streams one page is all there is, however many days that are.
            let page = self.bucket.list_below(&folder, None).await?;
            if page.next.is_none() {
                found.extend(page.objects.iter().filter_map(|object| self.segment(object)));
                return self.selected(found).await;
            }
        }
        let mut token = None;
        loop {
            let page = self.bucket.list_page(&folder, token.as_deref()).await?;
            found.extend(page.objects.iter().filter_map(|object| self.segment(object)));
            for prefix in page.prefixes {
                if let Some(name) = prefix.strip_prefix(&folder).and_then(|n| n.strip_suffix('/')) {
                    work.extend(self.plan(name, now).await?);
                }
            }
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        found.extend(self.list_all(work).await?);
        self.selected(found).await
    }

    /// The segments of the partition of now and of the one before it: what grows while somebody looks.
    pub async fn find_new(&mut self, now: Utc) -> Result<Vec<Segment>, BucketError> {
        let newest = self.wanted.span.end.min(now);
        let mut work = Vec::new();
        for template in &self.templates {
            let (last, before) = (template.of(newest), template.before(newest));
            work.extend([last, before].map(|partition| self.below(&partition)).map(Step::All));
        }
        work.extend(self.odd.iter().map(|name| Step::All(self.below(name))));
        let found = self.list_all(work).await?;
        self.selected(found).await
    }

    /// Those of the span, of what is selected.
    async fn selected(&self, found: Vec<Segment>) -> Result<Vec<Segment>, BucketError> {
        let found = self.within(found);
        match &self.wanted.selection {
            Some(selection) => selection.retain(&*self.bucket, &self.wanted.folder, found).await,
            None => Ok(found),
        }
    }

    /// What all keys of a partition begin with.
    fn below(&self, partition: &str) -> String {
        let slash = if partition.is_empty() { "" } else { "/" };
        format!("{}{partition}{slash}", self.wanted.folder)
    }

    /// What is to be listed of a folder directly below the stream.
    async fn plan(&mut self, name: &str, now: Utc) -> Result<Option<Step>, BucketError> {
        let Range { start, end } = self.wanted.span;
        if start == Utc::default() {
            return Ok(Some(Step::All(self.below(name))));
        }
        let end = end.min(now.plus(CLOCKS_AHEAD));
        let fits = |t: &PartitionTemplate| t.may_begin_with(name);
        if !self.templates.iter().any(fits) && !self.odd.iter().any(|odd| odd == name) {
            match self.learn(name).await? {
                Some(template) if fits(&template) => self.templates.push(template),
                _ => self.odd.push(name.to_owned()),
            }
        }
        let mut partitions = Vec::new();
        for template in self.templates.iter().filter(|t| fits(t)) {
            let Some(covering) = template.covering(start..end.max(start)) else {
                return Ok(Some(Step::All(self.below(name))));
            };
            partitions.push(template.before(start));
            partitions.extend(covering);
        }
        if self.odd.iter().any(|odd| odd == name) {
            return Ok(Some(Step::All(self.below(name))));
        }
        let here = |partition: &String| partition.split('/').next() == Some(name);
        partitions.retain(here);
        partitions.sort_unstable();
        partitions.dedup();
        let prefixes: Vec<String> = partitions.iter().map(|p| self.below(p)).collect();
        Ok((!prefixes.is_empty()).then(|| Step::Only(self.below(name), prefixes)))
    }

    /// The template by which a folder was made, as one of the writers in it has registered it.
    async fn learn(&self, name: &str) -> Result<Option<PartitionTemplate>, BucketError> {
        let page = self.bucket.list_below(&self.below(name), None).await?;
        let mut names = page.objects.iter().filter_map(|o| SegmentName::parse("", &o.key));
        let Some(writer) = names.next().map(|segment| segment.writer) else { return Ok(None) };
        let registered = registration(&*self.bucket, &self.wanted.folder, &writer).await?;
        let Some(partition) = registered.map(|registered| registered.partition) else { return Ok(None) };
        debug!(%writer, partition, "a template was learned");
        Ok(PartitionTemplate::parse(&partition).ok())
    }

    async fn list_all(&mut self, work: Vec<Step>) -> Result<Vec<Segment>, BucketError> {
        let bucket = self.bucket.clone();
        let pages = stream::iter(work).map(move |work| list(bucket.clone(), work));
        let mut pages = pages.flatten_unordered(LISTS_AT_ONCE);
        let mut found = Vec::new();
        while let Some(objects) = pages.try_next().await? {
            found.extend(objects.iter().filter_map(|object| self.segment(object)));
        }
        Ok(found)
    }

    /// What the name of an object says, if it is a segment of the stream, by the writer that is wanted.
    fn segment(&mut self, object: &StoredObject) -> Option<Segment> {
        let name = SegmentName::parse("", &object.key)?;
        let own = name.key_in(&self.wanted.folder) == object.key;
        if !own || self.wanted.writer.as_ref().is_some_and(|only| *only != name.writer) {
            return None;
        }
        let writer = self.writers.entry(name.writer.clone());
        let partition = self.partitions.entry(name.partition);
        Some(Segment {
            writer: writer.or_insert_with_key(|id| Arc::new(id.clone())).clone(),
            partition: partition.or_insert_with_key(|text| text.as_str().into()).clone(),
            generation: name.generation,
            offset: name.offset,
            length: name.length,
            start: name.start,
            partial: name.partial,
            form: name.form,
            stored: object.size,
            modified: object.modified,
            whole: None,
        })
    }

    /// Segments that began in the span, and of each writer the one that was under way when it began: the latest, and
    /// what one of the span goes on from, so that nobody else's object can take its place.
    fn within(&self, found: Vec<Segment>) -> Vec<Segment> {
        let span = &self.wanted.span;
        let (mut before, mut within) = (BTreeMap::<_, Vec<Segment>>::new(), Vec::new());
        for segment in found {
            if span.contains(&segment.start) {
                within.push(segment);
            } else if segment.start < span.start {
                before.entry(segment.writer.clone()).or_default().push(segment);
            }
        }
        let of_those = within.iter().filter(|s: &&Segment| before.contains_key(&s.writer));
        let begins: HashSet<_> = of_those.map(|s| (s.writer.clone(), s.generation, s.offset)).collect();
        for segments in before.into_values() {
            let latest = segments.iter().map(|segment| segment.start).max();
            within.extend(segments.into_iter().filter(|s| {
                let next = (s.writer.clone(), s.generation, s.offset + s.length);
                Some(s.start) == latest || begins.contains(&next)
            }));
        }
        within
    }
}

/// Lists what is asked, page by page.
fn list(bucket: Arc<dyn Bucket>, work: Step) -> Pages {
    match work {
        Step::All(prefix) => pages(bucket, prefix),
        Step::Only(folder, prefixes) if prefixes.len() > FEW => {
            let whole_or_each = async move {
                let page = bucket.list_below(&folder, None).await?;
                if page.next.is_some() {
                    return Ok(each(bucket, prefixes));
                }
                let mut objects = page.objects;
                objects.retain(|object| prefixes.iter().any(|p| object.key.starts_with(p)));
                Ok(stream::iter([Ok(objects)]).boxed())
            };
            stream::once(whole_or_each).try_flatten().boxed()
        }
        Step::Only(_, prefixes) => each(bucket, prefixes),
    }
}

/// Several prefixes at once, their pages in any order.
fn each(bucket: Arc<dyn Bucket>, prefixes: Vec<String>) -> Pages {
    let all = stream::iter(prefixes).map(move |prefix| pages(bucket.clone(), prefix));
    all.flatten_unordered(LISTS_AT_ONCE).boxed()
}

/// The objects below a prefix, page by page.
fn pages(bucket: Arc<dyn Bucket>, prefix: String) -> Pages {
    bucket::pages(bucket, prefix, Depth::All).map_ok(|page| page.objects).boxed()
}
