//! A door in front of an S3 server: it sees each request and can answer in the server's place.
//!
//! Owns: the record of requests, and faults that a healthy server does not show (denials, wrong
//! region, an answer that is lost after the request was carried out).
//! Does not own: any S3 meaning; a request passes through unread, so its signature stays valid.

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// One request as it came by.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query, still percent-encoded.
    pub target: String,
    pub if_none_match: Option<String>,
}

impl Seen {
    /// A write of a segment, in one piece or as the start or end of several.
    pub fn stores_a_segment(&self) -> bool {
        matches!(self.method.as_str(), "PUT" | "POST") && self.target.contains(".segments/")
    }
}

/// What the gate does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Lets it through.
    Pass,
    /// Answers in the server's place: status, S3 error code, one more header.
    Refuse(u16, &'static str, Option<(&'static str, &'static str)>),
    /// Lets it through, then cuts the connection instead of handing back the answer.
    LoseReply,
}

type Rule = Box<dyn FnMut(&Seen) -> Answer + Send>;

struct Shared {
    upstream: String,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
}

/// A running gate; it ends when this is dropped.
pub struct Gate {
    pub endpoint: String,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

impl Gate {
    /// Opens a gate before the server at `upstream`, letting everything through.
    pub fn before(upstream: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            rule: Mutex::new(Box::new(|_| Answer::Pass)),
            seen: Mutex::default(),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self { endpoint, shared, _runtime: runtime }
    }

    /// Decides from now on by `rule`.
    pub fn rule(&self, rule: impl FnMut(&Seen) -> Answer + Send + 'static) {
        *self.shared.rule.lock().unwrap() = Box::new(rule);
    }

    /// Answers every request with this error from now on.
    pub fn refuse(&self, status: u16, code: &'static str) {
        self.rule(move |_| Answer::Refuse(status, code, None));
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.rule(|_| Answer::Pass);
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests so far were listings.
    pub fn lists(&self) -> usize {
        self.seen().iter().filter(|s| s.method == "GET" && s.target.contains("list-type=2")).count()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            // An error here is a client that went away, or our own cut connection.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let header = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        if_none_match: header("if-none-match").map(str::to_owned),
    };
    let answer = (shared.rule.lock().unwrap())(&seen);
    shared.seen.lock().unwrap().push(seen);
    match answer {
        Answer::Refuse(status, code, more) => Ok(refusal(status, code, more)),
        Answer::Pass => forward(&shared.upstream, Request::from_parts(head, Full::new(body))).await,
        Answer::LoseReply => {
            forward(&shared.upstream, Request::from_parts(head, Full::new(body))).await?;
            Err("the answer is lost on purpose".into())
        }
    }
}

async fn forward(
    upstream: &str,
    request: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(upstream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (mut head, body) = sender.send_request(request).await?.into_parts();
    head.headers.remove(hyper::header::TRANSFER_ENCODING);
    Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
}

fn refusal(
    status: u16,
    code: &str,
    more: Option<(&'static str, &'static str)>,
) -> Response<Full<Bytes>> {
    // As Amazon's S3 words it, since people search for these words.
    let message = match code {
        "NoSuchBucket" => "The specified bucket does not exist",
        "AccessDenied" => "Access Denied",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "AuthorizationHeaderMalformed" => {
            "The authorization header is malformed; the region 'us-east-1' is wrong; \
             expecting 'eu-west-1'"
        }
        "SlowDown" => "Please reduce your request rate.",
        _ => "said by the test",
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/xml"));
    if let Some((name, value)) = more {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
