//! What a writer has registered of itself, found from one of its streams.

use serde::Deserialize;

use crate::format::naming::registrations_of;
use crate::s3::bucket::Bucket;
use crate::types::bucket_error::BucketError;
use crate::types::ids::WriterId;

/// Longest registration that is read: ours have some hundred bytes.
const REGISTRATION_MAX: u64 = 64 * 1024;

/// What of a registration is asked by readers.
#[derive(Clone, Debug, Deserialize)]
pub struct Registered {
    /// The template of its partitions.
    pub partition: String,
    /// The pod that it ran in, if it was one.
    pub pod: Option<String>,
}

/// The latest registration of a writer of the stream of that folder, where it can be found and read.
pub async fn registration(
    bucket: &dyn Bucket,
    folder: &str,
    writer: &WriterId,
) -> Result<Option<Registered>, BucketError> {
    // What was mounted is not said in a key: a prefix of it, up to some slash.
    let ends = folder.trim_end_matches('/').match_indices('/').map(|(at, _)| at + 1);
    for end in [0].into_iter().chain(ends) {
        let registrations = registrations_of(&folder[..end], writer);
        let page = bucket.list_below(&registrations, None).await?;
        let Some(latest) = page.objects.last() else { continue };
        let read = bucket.get_range(&latest.key, 0..REGISTRATION_MAX, None).await;
        let registered = read.map(|json| serde_json::from_slice::<Registered>(&json).ok());
        if let Ok(Some(registered)) = registered {
            return Ok(Some(registered));
        }
    }
    Ok(None)
}
