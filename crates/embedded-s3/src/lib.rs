//! The embedded bucket: an S3 server within the process, behind `file:///DIR`.
//!
//! Owns: one bucket in one directory, served on the loopback by a thread of its own. Does NOT own: any client of it;
//! the daemon talks to it over HTTP as to every other S3.
//!
//! Map: `server` takes connections (`still` knows which stand still) and hands requests to s3s, which checks signatures
//! and calls `service`; `reads`, `objects`, `lists` and `multipart` (`uploads`, `upload_lists`) do the operations,
//! `intake` takes bodies (`checksum`, `staged`); `store` keeps objects as files, named by `names`, described by
//! `record`, walked by `listing`; `headers` and `credentials` are the HTTP around it.
//!
//! Invariants: nothing here reaches into the rest of the program, and any number of processes may serve the same
//! directory at a time.

mod checksum;
mod credentials;
mod headers;
mod intake;
mod listing;
mod lists;
mod multipart;
mod names;
mod objects;
mod reads;
mod record;
mod server;
mod service;
mod staged;
mod still;
mod store;
mod upload_lists;
mod uploads;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::sync::oneshot;

use credentials::Credentials;
use service::Service;
use store::Store;

const REGION: &str = "us-east-1";

/// Threads that serve requests. More would not help: the work is the disk's, and of the daemon next door there is to be
/// left room.
const WORKERS: usize = 2;

/// Why the embedded bucket did not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The server would be reachable from other machines.
    #[error(
        "the embedded bucket must not listen on {0}, which is no loopback address; \
         choose 127.0.0.1 or [::1], with port 0 for any free port"
    )]
    NotLoopback(SocketAddr),
    /// The name is none that S3 allows.
    #[error(
        "{0:?} cannot be the name of a bucket; \
         take 3 to 63 lower case letters, digits, dots and hyphens"
    )]
    BucketName(String),
    /// The directory cannot be opened, created or written to.
    #[error(
        "cannot keep a bucket in {}; it must be a directory this process can write to, \
         on a local file system", dir.display()
    )]
    Directory {
        /// The directory as it was given.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The address is taken, or not there.
    #[error("cannot listen on {listen} for the embedded bucket; port 0 takes any free port")]
    Listen {
        /// The address as it was given.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the thread of the embedded bucket; are the limits on threads reached?")]
    Thread(#[source] io::Error),
}

/// A running server of the one bucket in a directory.
///
/// Dropping it tells the server to stop and does not wait; [`EmbeddedBucket::stop`] does.
pub struct EmbeddedBucket {
    endpoint: String,
    bucket: String,
    credentials: Credentials,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedBucket {
    /// Opens the store in `dir`, creating it when it is missing, and serves it as `bucket` on the loopback address
    /// `listen` (port 0: any), on a thread and a runtime of its own.
    pub fn start(dir: &Path, bucket: &str, listen: SocketAddr) -> Result<Self, EmbeddedError> {
        if !listen.ip().is_loopback() {
            return Err(EmbeddedError::NotLoopback(listen));
        }
        if !s3s::path::check_bucket_name(bucket) {
            return Err(EmbeddedError::BucketName(bucket.to_owned()));
        }
        let unusable = |source| EmbeddedError::Directory { dir: dir.to_owned(), source };
        let store = Arc::new(Store::open(dir).map_err(unusable)?);
        let credentials = Credentials::of(&store).map_err(unusable)?;
        let (listener, address) = bind(listen).map_err(|source| EmbeddedError::Listen { listen, source })?;

        let mut builder = S3ServiceBuilder::new(Service::new(store, bucket.to_owned()));
        builder.set_auth(SimpleAuth::from_single(
            credentials.access_key_id.clone(),
            credentials.secret_access_key.clone(),
        ));
        let (stop, stopped) = oneshot::channel();
        let thread = run(listener, builder.build(), stopped).map_err(EmbeddedError::Thread)?;
        Ok(Self {
            endpoint: format!("http://{address}"),
            bucket: bucket.to_owned(),
            credentials,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The name of the one bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Made once for each directory and kept in it, as the secret is.
    pub fn access_key_id(&self) -> &str {
        &self.credentials.access_key_id
    }

    /// See [`EmbeddedBucket::access_key_id`].
    pub fn secret_access_key(&self) -> &str {
        &self.credentials.secret_access_key
    }

    /// The region to sign for.
    pub fn region(&self) -> &str {
        REGION
    }

    /// Takes no more connections, lets the requests under way end (for some seconds at most), and returns when the
    /// server is gone.
    pub fn stop(mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the embedded bucket had panicked");
        }
    }
}

fn bind(listen: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn run(
    listener: TcpListener,
    service: s3s::service::S3Service,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("embedded-bucket")
        .enable_all()
        .build()?;
    let listener = {
        let _within = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name("embedded-bucket".to_owned()).spawn(move || {
        // Ready also when the sender is dropped, which is how both `stop` and a drop tell it.
        runtime.block_on(server::serve(listener, service, stopped));
        runtime.shutdown_background();
    })
}
