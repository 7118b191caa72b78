//! Credentials: drops cached ones that S3 refuses, and explains why there are none. The SDK finds them.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::{ConfigBag, IdentityCache, RuntimeComponents};
use aws_smithy_runtime_api::client::identity::{
    IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver,
};
use parking_lot::Mutex;

use crate::types::errors::causes;

/// The SDK keeps credentials until the time that came with them. S3 may refuse them earlier: the session was revoked,
/// the key replaced, our clock is behind. Then this forgets them, and the next request fetches others.
#[derive(Clone, Debug)]
pub(super) struct SharedCredentials(Arc<CredentialCache>);

#[derive(Debug)]
struct CredentialCache {
    cache: Mutex<(SharedIdentityCache, SystemTime)>,
    refused: AtomicBool,
}

/// Not more often are others fetched: the source may go on handing out the same.
const PAUSE: Duration = Duration::from_secs(1);

impl SharedCredentials {
    pub(super) fn new() -> SharedCredentials {
        let cache = Mutex::new((IdentityCache::lazy().build(), SystemTime::UNIX_EPOCH));
        SharedCredentials(Arc::new(CredentialCache { cache, refused: AtomicBool::new(false) }))
    }

    /// To be called when S3 refused credentials.
    pub(super) fn forget(&self) {
        self.0.refused.store(true, Ordering::Relaxed);
    }

    fn current(&self, now: SystemTime) -> SharedIdentityCache {
        let mut cache = self.0.cache.lock();
        let age = now.duration_since(cache.1).unwrap_or(PAUSE);
        if self.0.refused.swap(false, Ordering::Relaxed) && age >= PAUSE {
            *cache = (IdentityCache::lazy().build(), now);
        }
        cache.0.clone()
    }
}

impl ResolveCachedIdentity for SharedCredentials {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let now = components.time_source().map_or(SystemTime::UNIX_EPOCH, |clock| clock.now());
        let cache = self.current(now);
        IdentityFuture::new(async move { cache.resolve_cached_identity(resolver, components, config).await })
    }
}

/// The variables that name a file whose text is shown for credentials.
const TOKEN_FILES: [&str; 2] = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];

/// Why there are no credentials, in a profile where one was asked for, and what a person can do about it where that is
/// known.
pub(super) fn why(error: &(dyn Error + 'static), profile: Option<&str>) -> String {
    let mut said = error;
    // Above it the SDK says several times that it is about credentials.
    while let Some(cause) = said.source() {
        let ours = said.is::<CredentialsError>();
        said = cause;
        if ours {
            break;
        }
    }
    let said = causes(said);
    let hidden = || {
        let named = TOKEN_FILES.into_iter().filter_map(std::env::var_os).map(PathBuf::from);
        named.into_iter().find(|path| is_hidden(path))
    };
    let why = match hidden() {
        Some(token) => format!(
            "the token {} ({}) may not be read by uid {}: set the pod's fsGroup to a group, or let this user read it",
            token.display(),
            protection(&token),
            rustix::process::getuid().as_raw()
        ),
        // The chain's last source; its error is there as text alone.
        None if said.contains("IMDS") && said.contains("timeout") => {
            "no other source is configured, and the instance's metadata service does not answer; \
             a container gets no answer where its hop limit is 1: give the pod a role of its own \
             (EKS Pod Identity, IRSA), or raise the limit \
             (aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2)"
                .to_owned()
        }
        None => said,
    };
    let place = profile.map_or_else(String::new, |profile| format!(" in the profile `{profile}`"));
    format!("no usable credentials{place}: {why}")
}

/// Whether this process may not read a file.
pub fn is_hidden(path: &Path) -> bool {
    File::open(path).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

/// By what others are kept from a file, as `mode 0600, uid 0, gid 0`.
pub fn protection(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(file) => {
            format!("mode {:04o}, uid {}, gid {}", file.mode() & 0o7777, file.uid(), file.gid())
        }
        Err(e) => e.to_string(),
    }
}
