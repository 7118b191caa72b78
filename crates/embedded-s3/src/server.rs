//! The HTTP side: connections in, responses out.
//!
//! Owns: accepting, the number of connections, ending them, what a panic in a request becomes. Which connection stands
//! still is told by `still`. Does NOT own: the protocol of S3 (s3s and `service`).
//!
//! Invariant: nothing that one connection does ends the server, or another one through which bytes go.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3ErrorCode};
use tokio::net::TcpListener;

use super::still::{Connections, Watched};

/// The most connections at a time; for one more, the one that has stood still for longest is closed. Far more than the
/// pool of any one SDK client holds, far less than the usual limit of open files.
const CONNECTIONS_MAX: usize = 256;

/// A connection through which no byte has gone for this long is closed: longer than any request works in silence.
const STILL_MAX: Duration = Duration::from_secs(60);

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long requests may go on after the stop. The longest ordinary one, a page of keys or an object of some megabytes,
/// takes a fraction of it.
const GRACE: Duration = Duration::from_secs(5);

/// The pause after a failed accept (no file descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is ready, then at most [`GRACE`] longer.
pub async fn serve(listener: TcpListener, service: S3Service, stop: impl Future) {
    let graceful = GracefulShutdown::new();
    let mut connections = Connections::default();
    let mut look = tokio::time::interval(LOOK);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => break,
            _ = look.tick() => {
                connections.close_those_still_for(STILL_MAX);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.make_room(CONNECTIONS_MAX);
                let (stream, moved) = Watched::new(stream);
                let task = tokio::spawn(connection(stream, service.clone(), &graceful));
                connections.add(moved, task.abort_handle());
            }
            Err(error) => {
                tracing::warn!(%error, "the embedded bucket cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("the embedded bucket stops with requests unfinished");
    }
}

fn connection(
    stream: Watched,
    service: S3Service,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    let handler = service_fn(move |request| answer(service.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), handler);
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the embedded bucket broke");
        }
    }
}

async fn answer(service: S3Service, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let answered = AssertUnwindSafe(service.call(request.map(Body::from))).catch_unwind().await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(_)) | Err(_) => {
            S3Error::new(S3ErrorCode::InternalError).to_http_response().unwrap_or_else(|_| internal_error())
        }
    };
    let id = format!("{:016X}", fastrand::u64(..));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amz-request-id", id);
    }
    response.headers_mut().insert(hyper::header::SERVER, HeaderValue::from_static("logsinkfs"));
    Ok(response)
}

fn internal_error() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
    response
}

#[cfg(test)]
mod tests {
    use s3s::dto::{ListBucketsInput, ListBucketsOutput};
    use s3s::service::S3ServiceBuilder;
    use s3s::{S3, S3Request, S3Response, S3Result};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use tokio::net::TcpStream;

    use super::*;

    struct Panics;

    #[async_trait::async_trait]
    impl S3 for Panics {
        async fn list_buckets(&self, _: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_panic_in_a_request_is_an_internal_error_of_that_request_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = S3ServiceBuilder::new(Panics).build();
        tokio::spawn(serve(listener, service, std::future::pending::<()>()));
        // Twice on one connection.
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: x\r\n";
        let requests = format!("{request}\r\n{request}Connection: close\r\n\r\n");
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut responses = String::new();
        stream.read_to_string(&mut responses).await.unwrap();
        assert_eq!(responses.matches("HTTP/1.1 500").count(), 2, "{responses}");
    }
}
