//! What can happen to a request: the faults, and the answers that are made up for them.

use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::Failure;

pub type Reply = Response<BoxBody<Bytes, Failure>>;

/// What the gate does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Lets it through.
    Pass,
    /// Answers in the server's place: status, S3 error code, one more header.
    Refuse(u16, &'static str, Option<(&'static str, &'static str)>),
    /// Answers in the server's place with something that no S3 says: the page of a proxy.
    Page(u16, &'static str),
    /// Answers in the server's place with something that is not HTTP.
    Garbage(&'static [u8]),
    /// Resets the connection before the body is read.
    Reset,
    /// Lets it through, then resets the connection instead of handing back the answer.
    ResetReply,
    /// Lets it through, then resets the connection in the middle of the answer.
    ResetWithinReply,
    /// Lets it through, then closes the connection instead of handing back the answer.
    LoseReply,
    /// Lets it through, but the answer ends before its Content-Length.
    Truncate,
    /// Lets it through after a while.
    Delay(Duration),
    /// Lets it through, taking the request and giving the answer a few bytes at a time.
    Drip,
    /// Lets it through without its `If-None-Match`, as a service does that does not know it.
    Unconditional,
    /// The same, and closes the connection instead of handing back the answer.
    UnconditionalLost,
    /// Lets it through as to a service that knows this header, with this value, in place of `If-None-Match`, and
    /// refuses so what it forbids.
    KnowsOnly(&'static str, &'static str, (u16, &'static str)),
    /// Lets it through if it was signed by a clock that is ahead of ours by this; answers by that clock.
    Ahead(Duration),
}

/// The kinds of fault after which everything arrives all the same, whichever come in which order.
pub const MIXED: [Answer; 26] = [
    Answer::Refuse(503, "SlowDown", None),
    Answer::Refuse(500, "InternalError", None),
    Answer::Refuse(200, "InternalError", None),
    Answer::Refuse(403, "AccessDenied", None),
    Answer::Refuse(400, "ExpiredToken", None),
    Answer::Refuse(403, "ExpiredToken", None),
    Answer::Refuse(404, "NoSuchBucket", None),
    MOVED,
    Answer::Refuse(400, "AuthorizationHeaderMalformed", Some(("x-amz-bucket-region", "eu-west-1"))),
    SKEWED,
    Answer::Refuse(409, "ConditionalRequestConflict", None),
    Answer::Refuse(501, "NotImplemented", None),
    Answer::Refuse(400, "MetadataTooLarge", None),
    Answer::Refuse(400, "RequestTimeout", None),
    Answer::Page(502, HTML),
    Answer::Page(200, HTML),
    Answer::Page(302, HTML),
    Answer::Page(200, ""),
    Answer::Garbage(b"220 mail.example.com ESMTP\r\n"),
    Answer::Reset,
    Answer::ResetReply,
    Answer::ResetWithinReply,
    Answer::LoseReply,
    Answer::Truncate,
    Answer::Delay(Duration::from_millis(30)),
    Answer::Drip,
];

/// The bucket is elsewhere.
pub const MOVED: Answer = Answer::Refuse(301, "PermanentRedirect", Some(("x-amz-bucket-region", "eu-west-1")));
/// The two clocks are years apart.
pub const SKEWED: Answer = Answer::Refuse(403, "RequestTimeTooSkewed", Some(("date", "Sun, 01 Nov 2015 08:15:02 GMT")));
/// What a proxy says.
pub const HTML: &str = "<!DOCTYPE html><html><body><h1>Please log in</h1><br></body></html>";

pub fn reply(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut reply = Response::new(body.boxed());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    reply
}

pub fn refusal(status: u16, code: &str, more: Option<(&'static str, &'static str)>) -> Reply {
    // As Amazon's S3 words it, since people search for these words.
    let message = match code {
        "NoSuchBucket" => "The specified bucket does not exist",
        "AccessDenied" => "Access Denied",
        "ExpiredToken" => "The provided token has expired.",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "AuthorizationHeaderMalformed" => {
            "The authorization header is malformed; the region 'us-east-1' is wrong; \
             expecting 'eu-west-1'"
        }
        "MetadataTooLarge" => "Your metadata headers exceed the maximum allowed metadata size",
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "RequestTimeTooSkewed" => "The difference between the request time and the current time is too large.",
        "SlowDown" => "Please reduce your request rate.",
        _ => "said by the test",
    };
    let region = match code {
        "AuthorizationHeaderMalformed" => "<Region>eu-west-1</Region>",
        _ => "",
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <Error><Code>{code}</Code><Message>{message}</Message>{region}</Error>"
    );
    let mut reply = reply(status, "application/xml", body);
    if let Some((name, value)) = more {
        let name = HeaderName::from_static(name);
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}
