//! Connects to a bucket, of an S3 service or the embedded one, which runs as long as the returned value lives. A writer
//! mount has more to set up (see `worker::compose`).

#[cfg(feature = "embedded-bucket")]
use crate::s3::sdk::FixedCredentials;
use crate::s3::sdk::S3Bucket;
#[cfg(feature = "embedded-bucket")]
use crate::settings::objects::EndpointOptions;
use crate::settings::writer::{S3Settings, Source};
#[cfg(feature = "embedded-bucket")]
use embedded_s3::EmbeddedBucket;

/// Name of the embedded bucket behind `file:///DIR`.
#[cfg(feature = "embedded-bucket")]
pub const EMBEDDED_NAME: &str = "logs";

/// A running embedded bucket, when the source asks for one.
#[cfg(feature = "embedded-bucket")]
pub type Embedded = Option<EmbeddedBucket>;
/// There is none in this build.
#[cfg(not(feature = "embedded-bucket"))]
pub type Embedded = ();

/// The bucket that an embedded server serves.
#[cfg(feature = "embedded-bucket")]
pub fn served_by(server: &EmbeddedBucket, s3: &S3Settings) -> S3Bucket {
    let reach = S3Settings {
        endpoint_url: Some(server.endpoint().to_owned()),
        region: Some(server.region().to_owned()),
        force_path_style: true,
        profile: None,
        endpoints: EndpointOptions::default(),
        anonymous: false,
        ..s3.clone()
    };
    let keys = FixedCredentials {
        access_key_id: server.access_key_id().to_owned(),
        secret_access_key: server.secret_access_key().to_owned(),
    };
    S3Bucket::new(EMBEDDED_NAME, &reach, Some(keys))
}

/// The bucket of a source, for a command that reads it. A directory that is not there is not made. Fails with why the
/// embedded bucket cannot be started.
#[cfg(feature = "embedded-bucket")]
pub fn to_read(source: &Source, s3: &S3Settings) -> Result<(S3Bucket, Embedded), String> {
    match source {
        Source::S3 { bucket, .. } => Ok((S3Bucket::new(bucket, s3, None), None)),
        Source::Embedded { dir } => {
            if !dir.is_dir() {
                return Err(format!("there is no directory {}", dir.display()));
            }
            let anywhere = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
            let server = EmbeddedBucket::start(dir, EMBEDDED_NAME, anywhere);
            let server = server.map_err(|e| e.to_string())?;
            Ok((served_by(&server, s3), Some(server)))
        }
    }
}

/// The bucket of a source, for a command that reads it.
#[cfg(not(feature = "embedded-bucket"))]
pub fn to_read(source: &Source, s3: &S3Settings) -> Result<(S3Bucket, Embedded), String> {
    match source {
        Source::S3 { bucket, .. } => Ok((S3Bucket::new(bucket, s3, None), ())),
        Source::Embedded { .. } => Err("this program was built without it".to_owned()),
    }
}
