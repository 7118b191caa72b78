//! A double of those who hand out credentials in AWS, on loopback: STS, the agent that containers ask, and the metadata
//! service of an instance.
//!
//! Owns: who may ask, what is handed out, and the record of both. What it hands out are the keys of the bucket under
//! test, so that signatures are checked, with a session token that tells one hand-out from another.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

use super::s3::Access;

/// The role of the instance, and the token of its metadata service.
const INSTANCE_ROLE: &str = "role-of-the-instance";
const INSTANCE_TOKEN: &str = "token-of-the-instance";

/// What STS says of a role that somebody may not assume.
const DENIED: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
    <Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>";

/// How the issuer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Hands out to who shows this token; an instance has none to show.
    Trusts(&'static str),
    /// Refuses everybody.
    Refuses,
    /// Takes requests and never answers.
    Silent,
}

/// One hand-out.
#[derive(Clone, Debug)]
pub struct Issued {
    /// `container`, `instance` or the action of STS.
    pub by: String,
    /// The role that was asked for, where one was.
    pub role: String,
    /// What was shown for it.
    pub shown: String,
    /// By this token a request is known that was signed with it.
    pub session: String,
}

struct State {
    mood: Mood,
    lifetime: SignedDuration,
    issued: Vec<Issued>,
    refused: usize,
}

/// A running issuer; it ends when this is dropped.
pub struct Issuer {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

impl Issuer {
    /// Hands out the keys of this bucket, for an hour each.
    pub fn of(access: &Access, mood: Mood) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let lifetime = SignedDuration::from_hours(1);
        let state = State { mood, lifetime, issued: Vec::new(), refused: 0 };
        let state = Arc::new(Mutex::new(state));
        runtime.spawn(accept(listener, access.clone(), Arc::clone(&state)));
        Self { endpoint, state, _runtime: runtime }
    }

    /// Changes its mind.
    pub fn becomes(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// What is handed out from now on is to be fetched anew for the next request.
    pub fn issues_for_a_moment(&self) {
        self.state.lock().unwrap().lifetime = SignedDuration::from_secs(5);
    }

    /// All hand-outs so far.
    pub fn issued(&self) -> Vec<Issued> {
        self.state.lock().unwrap().issued.clone()
    }

    /// How often somebody asked in vain.
    pub fn refused(&self) -> usize {
        self.state.lock().unwrap().refused
    }
}

async fn accept(listener: TcpListener, access: Access, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (access, state) = (access.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, access.clone(), Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    access: Access,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let form = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let form = String::from_utf8_lossy(&form).into_owned();
    let field = |name: &str| {
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.into_iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value);
        percent_decode_str(value).decode_utf8_lossy().into_owned()
    };
    let header = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mood = state.lock().unwrap().mood.clone();
    let instance = "/latest/meta-data/iam/security-credentials/";
    let (by, role, shown) = match (head.method.as_str(), head.uri.path()) {
        _ if mood == Mood::Silent => {
            state.lock().unwrap().refused += 1;
            std::future::pending().await
        }
        ("PUT", "/latest/api/token") => {
            let mut reply = Response::new(Full::from(INSTANCE_TOKEN));
            let ttl = hyper::header::HeaderValue::from_static("21600");
            reply.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", ttl);
            return Ok(reply);
        }
        ("GET", path) if path == instance => return Ok(Response::new(INSTANCE_ROLE.into())),
        ("GET", path) if path.starts_with(instance) => {
            let shown = header("x-aws-ec2-metadata-token");
            ("instance".to_owned(), INSTANCE_ROLE.to_owned(), shown)
        }
        ("GET", "/container") => ("container".to_owned(), String::new(), header("authorization")),
        ("POST", _) => {
            let token = field("WebIdentityToken");
            let shown = if token.is_empty() { header("x-amz-security-token") } else { token };
            (field("Action"), field("RoleArn"), shown)
        }
        _ => return Ok(status(404)),
    };
    let mut state = state.lock().unwrap();
    let trusted = match &mood {
        Mood::Trusts(token) => match by.as_str() {
            "instance" => shown == INSTANCE_TOKEN,
            "AssumeRole" => state.issued.iter().any(|issued| issued.session == shown),
            _ => shown == *token,
        },
        _ => false,
    };
    if !trusted {
        state.refused += 1;
        let mut reply = status(403);
        if by.starts_with("Assume") {
            *reply.body_mut() = Full::from(DENIED);
        }
        return Ok(reply);
    }
    let session = format!("{by}-{}", state.issued.len());
    let until = expiry(state.lifetime);
    let given = given(&by, &access, &session, &until);
    state.issued.push(Issued { by, role, shown, session });
    Ok(Response::new(given.into()))
}

/// Credentials, in the form of who hands them out.
fn given(by: &str, access: &Access, session: &str, until: &str) -> String {
    let Access { key_id, secret, .. } = access;
    if !by.starts_with("Assume") {
        return serde_json::json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key_id,
            "SecretAccessKey": secret, "Token": session, "Expiration": until,
        })
        .to_string();
    }
    format!(
        "<{by}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{by}Result>\
         <AssumedRoleUser><AssumedRoleId>AROA:a</AssumedRoleId>\
         <Arn>arn:aws:sts::111122223333:assumed-role/r/a</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{key_id}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{session}</SessionToken>\
         <Expiration>{until}</Expiration></Credentials></{by}Result></{by}Response>"
    )
}

#[allow(clippy::disallowed_methods, reason = "the tests run on the real clock")]
fn expiry(lifetime: SignedDuration) -> String {
    let until = Timestamp::now() + lifetime;
    until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    reply
}
