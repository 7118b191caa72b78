//! The admin endpoint (`--admin`): health, readiness, metrics and status over HTTP, for kubelet, Prometheus and people.
//! Owns address, paths and connection limits; the content comes from `worker::status`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::error::DaemonError;
use super::page;
use super::status::MountStatus;

/// Connections at once: a few scrapers, and kubelet. Where there are more, the oldest is closed.
const CONNECTIONS: usize = 64;
/// Connections at once of one peer.
const CONNECTIONS_OF_ONE: usize = 8;
/// Answers at once: each takes a thread for some milliseconds.
const ANSWERS: usize = 4;
/// How long a connection lives, whatever it does: a scrape takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the address may still be held by the worker before this one.
const HANDOVER: Duration = Duration::from_secs(10);

/// What somebody asks.
struct Question {
    method: Method,
    path: String,
    query: Option<String>,
    /// Whether names of logs may be in the answer.
    may_see_names: bool,
}

impl Question {
    fn new(request: &Request<hyper::body::Incoming>, peer: IpAddr) -> Question {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        Question {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            may_see_names: may_see_names(peer, host),
        }
    }
}

/// Whether somebody may see names of logs: who asks on this machine, and means this machine.
fn may_see_names(peer: IpAddr, host: Option<&str>) -> bool {
    peer.to_canonical().is_loopback() && host.is_some_and(is_loopback)
}

/// Whether a host of a URL is this machine by itself. A page of somebody else's, whose name leads to this address, has
/// a browser on this machine ask in that name (DNS rebinding).
fn is_loopback(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// What is said to a question. Blocking.
fn answer(status: &MountStatus, asked: &Question) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let say = |status, kind, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_SECURITY_POLICY, page::policy());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    };
    if asked.method != Method::GET && asked.method != Method::HEAD {
        return say(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match asked.path.as_str() {
        "/healthz" => say(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => match status.ready() {
            Ok(()) => say(StatusCode::OK, TEXT, "ready\n".to_owned()),
            Err(why) => say(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n")),
        },
        "/metrics" => say(StatusCode::OK, OPEN_METRICS, status.metrics()),
        "/status" => {
            let with_logs = asked.may_see_names && asked.query.as_deref() == Some("logs");
            let status = if with_logs { status.status_with_logs() } else { status.status() };
            say(StatusCode::OK, "application/json", format!("{status:#}\n"))
        }
        "/" => say(StatusCode::OK, "text/html; charset=utf-8", page::PAGE.to_owned()),
        _ => say(StatusCode::NOT_FOUND, TEXT, "/ /healthz /readyz /metrics /status\n".to_owned()),
    }
}

/// Takes the address. The worker before this one may be giving it up in this moment.
pub async fn listen(address: SocketAddr, resumed: bool) -> Result<TcpListener, DaemonError> {
    let mut tries = if resumed { 100 } else { 1 };
    loop {
        tries -= 1;
        match TcpListener::bind(address).await {
            Err(e) if tries == 0 => {
                return Err(DaemonError::Admin(format!("cannot listen at {address}: {e}")));
            }
            Err(e) => debug!("{address} is not free yet: {e}"),
            Ok(listener) => return Ok(listener),
        }
        tokio::time::sleep(HANDOVER / 100).await;
    }
}

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, status: Arc<MountStatus>) {
    let answers = Arc::new(Semaphore::new(ANSWERS));
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let connection = connection(stream, from.ip(), status.clone(), answers.clone());
                let task = tokio::spawn(timeout(PATIENCE, connection));
                connections.add(peer(from.ip()), task.abort_handle());
            }
            Err(e) => {
                // Out of descriptors, for example: the next one may do better.
                warn!("an admin connection was not taken: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, from: IpAddr, status: Arc<MountStatus>, answers: Arc<Semaphore>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (status, answers) = (status.clone(), answers.clone());
        async move {
            let asked = Question::new(&request, from);
            // The semaphore is never closed.
            let place = answers.acquire_owned().await;
            let answer = move || {
                let _place = place;
                answer(&status, &asked)
            };
            let answer = tokio::task::spawn_blocking(answer).await;
            let failed = |_| {
                let mut failed = Response::new(Full::default());
                *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                failed
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(failed))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new());
    if let Err(e) = http.serve_connection(TokioIo::new(stream), service).await {
        debug!("an admin connection ended: {e}");
    }
}

/// The connections that may be open, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<(IpAddr, AbortHandle)>);

impl Connections {
    /// Adds one. Where there are too many, the oldest one of the same peer is closed, or of all: one that asks now is
    /// answered, however many others are held open.
    fn add(&mut self, peer: IpAddr, task: AbortHandle) {
        self.0.retain(|(_, task)| !task.is_finished());
        let of_peer = |(of, _): &&(IpAddr, AbortHandle)| *of == peer;
        let surplus = if self.0.iter().filter(of_peer).count() >= CONNECTIONS_OF_ONE {
            self.0.iter().position(|connection| of_peer(&connection))
        } else {
            (self.0.len() >= CONNECTIONS).then_some(0)
        };
        if let Some((_, task)) = surplus.and_then(|at| self.0.remove(at)) {
            task.abort();
        }
        self.0.push_back((peer, task));
    }
}

/// Who counts as one: this machine, whose programs have many addresses, and a network of IPv6.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        own if own.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_logs_are_for_who_asks_on_this_machine() {
        let sees = |peer: &str, host| may_see_names(peer.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), host);
        assert!(sees("127.0.0.1", Some("localhost:9847")) && sees("::ffff:127.0.0.1", Some("[::1]")));
        assert!(!sees("10.0.0.7", Some("localhost:9847")), "another machine may say anything");
        assert!(!sees("127.0.0.1", Some("evil.example")) && !sees("127.0.0.1", None));
    }

    #[test]
    fn only_names_of_this_machine_itself_are_its_own() {
        for own in ["localhost", "LocalHost:9847", "127.0.0.1:9847", "127.1.2.3", "[::1]:9847", "[::1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["", "node-1:9847", "10.0.0.1:80", "evil.example", "localhost.evil.example", "127.0.0.1.evil.x:1"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
