//! A door in front of an S3 server: it sees each request and can answer in the server's place.
//!
//! Owns: the record of requests and of what they overwrote, and the faults that a healthy server does not show, by a
//! rule of the test or by chance. Does not own: any S3 meaning; a request passes through unread, so its signature stays
//! valid.

mod answer;
mod chance;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use self::answer::{Answer, HTML, MOVED, SKEWED};
use self::answer::{Reply, refusal, reply};
use self::chance::Chance;
use self::wire::{BreaksOff, Manner, Wire};
use super::eventually;

/// How far a signature's time may be from the server's.
const SKEW_MAX: i64 = 15 * 60;

/// One request as it came by.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query, still percent-encoded.
    pub target: String,
    pub if_none_match: Option<String>,
    /// The token of temporary credentials that it was signed with.
    pub session: Option<String>,
    /// `KEY ID/DATE/REGION/s3/aws4_request`: whose signature it carries, and for which region.
    pub signed_by: String,
    /// All its headers.
    pub headers: HeaderMap,
}

impl Seen {
    /// A header; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A write of a segment, in one piece or as the start or end of several.
    pub fn stores_a_segment(&self) -> bool {
        matches!(self.method.as_str(), "PUT" | "POST") && self.target.contains(".segments/")
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Answer + Send>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Shared {
    upstream: String,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    /// How many requests met a fault.
    hits: Mutex<usize>,
    /// How often the server accepted a PUT of each target.
    stored: Mutex<HashMap<String, usize>>,
}

/// A running gate; it ends when this is dropped.
pub struct Gate {
    pub endpoint: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    doorman: Mutex<JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
}

impl Gate {
    /// Opens a gate before the server at `upstream`, letting everything through.
    pub fn before(upstream: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            rule: Mutex::new(Box::new(|_| Answer::Pass)),
            seen: Mutex::default(),
            hits: Mutex::default(),
            stored: Mutex::default(),
        });
        let doorman = Mutex::new(runtime.spawn(accept(listener, Arc::clone(&shared))));
        Self { endpoint: format!("http://{address}"), address, shared, doorman, runtime }
    }

    /// Decides from now on by `rule`.
    pub fn rule(&self, rule: impl FnMut(&Seen) -> Answer + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Does this with every request from now on.
    pub fn always(&self, answer: Answer) {
        self.rule(move |_| answer);
    }

    /// Answers every request with this error from now on.
    pub fn refuse(&self, status: u16, code: &'static str) {
        self.always(Answer::Refuse(status, code, None));
    }

    /// Lets so many faults of all kinds happen; gives how many are still to come.
    pub fn by_chance(&self, faults: usize) -> impl Fn() -> usize + use<> {
        let chance = Arc::new(Mutex::new(Chance::faults(faults)));
        let drawn = Arc::clone(&chance);
        self.rule(move |_| drawn.lock().unwrap().draw());
        move || chance.lock().unwrap().left()
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.always(Answer::Pass);
    }

    /// Closes the port and what is connected to it.
    pub fn shut(&self) {
        let doorman = self.doorman.lock().unwrap();
        doorman.abort();
        eventually("the port to close", || doorman.is_finished().then_some(()));
    }

    /// Listens again where it did.
    pub fn reopen(&self) {
        let bind = || self.runtime.block_on(TcpListener::bind(self.address)).ok();
        let listener = eventually("the port to be free", bind);
        let shared = Arc::clone(&self.shared);
        *self.doorman.lock().unwrap() = self.runtime.spawn(accept(listener, shared));
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests so far met a fault.
    pub fn hits(&self) -> usize {
        *self.shared.hits.lock().unwrap()
    }

    /// Waits until so many more requests met a fault.
    pub fn await_hits(&self, more: usize) {
        let goal = self.hits() + more;
        eventually("requests that meet the fault", || (self.hits() >= goal).then_some(()));
    }

    /// What was stored more than once.
    pub fn overwritten(&self) -> Vec<String> {
        let stored = self.shared.stored.lock().unwrap();
        stored.iter().filter(|(_, times)| **times > 1).map(|(target, _)| target.clone()).collect()
    }

    /// How many requests so far were listings.
    pub fn lists(&self) -> usize {
        self.seen().iter().filter(|s| s.method == "GET" && s.target.contains("list-type=2")).count()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // With this task the connections end.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let (wire, manner) = Wire::new(stream);
            let service = service_fn(move |request| answer(request, Arc::clone(&shared), Arc::clone(&manner)));
            // An error here is a client that went away, or our own cut connection.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(wire), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>, wire: Arc<Mutex<Manner>>) -> Result<Reply, Failure> {
    let (mut head, body) = request.into_parts();
    let header = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        if_none_match: header("if-none-match").map(str::to_owned),
        session: header("x-amz-security-token").map(str::to_owned),
        signed_by: credential(header("authorization")).to_owned(),
        headers: head.headers.clone(),
    };
    let answer = (shared.rule.lock().unwrap())(&seen);
    shared.seen.lock().unwrap().push(seen);
    *shared.hits.lock().unwrap() += usize::from(answer != Answer::Pass);
    *wire.lock().unwrap() = match answer {
        Answer::Reset | Answer::ResetReply | Answer::ResetWithinReply => Manner::Reset,
        Answer::Garbage(bytes) => Manner::Garbage(bytes),
        Answer::Drip => Manner::Drip,
        _ => Manner::Well,
    };
    if answer == Answer::Reset {
        return Err("reset on purpose".into());
    }
    let body = body.collect().await?.to_bytes();
    let mut ahead = Duration::ZERO;
    match answer {
        Answer::Refuse(status, code, more) => return Ok(refusal(status, code, more)),
        Answer::Page(status, page) => return Ok(reply(status, "text/html", page)),
        Answer::Garbage(_) => return Ok(reply(200, "text/plain", "")),
        Answer::Delay(time) => tokio::time::sleep(time).await,
        Answer::Unconditional | Answer::UnconditionalLost => drop(head.headers.remove("if-none-match")),
        Answer::Ahead(by) => ahead = by,
        Answer::KnowsOnly(header, value, _) => {
            head.headers.remove("if-none-match");
            if head.headers.get(header).is_some_and(|given| given == value) {
                head.headers.insert("if-none-match", HeaderValue::from_static("*"));
            }
        }
        _ => {}
    }
    if !ahead.is_zero() && !is_signed_by(&head.headers, now() + ahead) {
        return Ok(dated(refusal(403, "RequestTimeTooSkewed", None), now() + ahead));
    }
    let request = Request::from_parts(head, Full::new(body));
    let reply = forward(&shared, request).await?;
    match answer {
        Answer::LoseReply | Answer::ResetReply | Answer::UnconditionalLost => {
            Err("the answer is lost on purpose".into())
        }
        Answer::Truncate | Answer::ResetWithinReply => break_off(reply).await,
        Answer::Ahead(by) => Ok(dated(reply, now() + by)),
        Answer::KnowsOnly(.., (status, code)) if reply.status() == 412 => Ok(refusal(status, code, None)),
        _ => Ok(reply),
    }
}

fn credential(authorization: Option<&str>) -> &str {
    let behind = authorization.and_then(|text| text.split_once("Credential="));
    behind.and_then(|(_, rest)| rest.split(',').next()).unwrap_or_default()
}

async fn forward(shared: &Shared, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
    let put = (request.method() == "PUT").then(|| request.uri().path().to_owned());
    let stream = TcpStream::connect(&shared.upstream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (mut head, body) = sender.send_request(request).await?.into_parts();
    head.headers.remove(hyper::header::TRANSFER_ENCODING);
    if let Some(target) = put.filter(|_| head.status.is_success()) {
        *shared.stored.lock().unwrap().entry(target).or_default() += 1;
    }
    let body = Full::new(body.collect().await?.to_bytes()).map_err(|never| match never {});
    Ok(Response::from_parts(head, body.boxed()))
}

async fn break_off(reply: Reply) -> Result<Reply, Failure> {
    let (mut head, body) = reply.into_parts();
    head.headers.remove(hyper::header::CONTENT_LENGTH);
    let bytes = body.collect().await?.to_bytes();
    let claimed = bytes.len() as u64 + 100;
    let body = BreaksOff { bytes: Some(bytes), claimed, flushed: false };
    Ok(Response::from_parts(head, body.boxed()))
}

#[allow(clippy::disallowed_methods, reason = "the tests run on the real clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn is_signed_by(headers: &HeaderMap, clock: Timestamp) -> bool {
    let signed = headers.get("x-amz-date").and_then(|date| date.to_str().ok()).unwrap_or_default();
    let signed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", signed).unwrap();
    let signed = signed.to_zoned(TimeZone::UTC).unwrap().timestamp();
    (clock.as_second() - signed.as_second()).abs() < SKEW_MAX
}

fn dated(mut reply: Reply, clock: Timestamp) -> Reply {
    let date = clock.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    reply.headers_mut().insert("date", HeaderValue::from_str(&date).unwrap());
    reply
}
