//! What policies say to a request, by the rules of IAM: an explicit Deny wins, then an Allow is needed; conditions and
//! variables included, as far as the files of k8s/identity use them.
//!
//! Does not own: any policy, and it does not stand for AWS: what it does not know, it panics at.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::gate::{Answer, Seen};

/// Who asks, and what stands for and against it.
#[derive(Clone, Default)]
pub struct Rules {
    /// The policies of the role.
    pub identity: Vec<Value>,
    /// The policy of the bucket.
    pub bucket: Option<Value>,
    /// The tags of the role's session.
    pub tags: BTreeMap<&'static str, &'static str>,
    /// Over TLS.
    pub secure: bool,
}

/// A request as policies see it.
struct Asked {
    action: &'static str,
    resource: String,
    context: BTreeMap<String, String>,
}

impl Rules {
    /// What S3 would answer.
    pub fn answer(&self, seen: &Seen) -> Answer {
        let asked = self.asked(seen);
        let allowed = self.identity.iter().any(|policy| asked.meets(policy, "Allow"));
        let policies = self.identity.iter().chain(&self.bucket);
        if allowed && !policies.into_iter().any(|policy| asked.meets(policy, "Deny")) {
            Answer::Pass
        } else {
            Answer::Refuse(403, "AccessDenied", None)
        }
    }

    fn asked(&self, seen: &Seen) -> Asked {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let query: BTreeMap<_, _> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name, decoded(value)))
            .collect();
        let mut context = BTreeMap::from([("aws:SecureTransport".to_owned(), self.secure.to_string())]);
        for (tag, value) in &self.tags {
            context.insert(format!("aws:PrincipalTag/{tag}"), (*value).to_owned());
        }
        let mut put = |creates: bool| {
            context.insert("s3:ObjectCreationOperation".to_owned(), creates.to_string());
            if let Some(header) = &seen.if_none_match {
                context.insert("s3:if-none-match".to_owned(), header.clone());
            }
            "s3:PutObject"
        };
        let action = match seen.method.as_str() {
            // A part is no object yet, and neither is the beginning of an upload in parts.
            "PUT" => put(!query.contains_key("partNumber")),
            "POST" if query.contains_key("uploads") => put(false),
            "POST" if query.contains_key("uploadId") => put(true),
            "GET" if query.contains_key("list-type") => {
                let prefix = query.get("prefix").cloned().unwrap_or_default();
                context.insert("s3:prefix".to_owned(), prefix);
                "s3:ListBucket"
            }
            "GET" if query.contains_key("uploads") => "s3:ListBucketMultipartUploads",
            "GET" | "HEAD" => "s3:GetObject",
            "DELETE" if query.contains_key("uploadId") => "s3:AbortMultipartUpload",
            "DELETE" => "s3:DeleteObject",
            other => panic!("{other} {}", seen.target),
        };
        let resource = format!("arn:aws:s3::{}", decoded(path).replacen('/', ":", 1));
        Asked { action, resource: resource.trim_end_matches('/').to_owned(), context }
    }
}

impl Asked {
    /// Whether a statement of this effect is about the request.
    fn meets(&self, policy: &Value, effect: &str) -> bool {
        let statements = policy["Statement"].as_array().unwrap().iter();
        statements.filter(|statement| statement["Effect"] == effect).any(|statement| {
            let is_one =
                |patterns: &Value, text: &str| texts(patterns).iter().any(|pattern| self.is_like(pattern, text));
            is_one(&statement["Action"], self.action)
                && is_one(&statement["Resource"], &self.resource)
                && self.holds(&statement["Condition"])
        })
    }

    /// Whether all conditions hold.
    fn holds(&self, conditions: &Value) -> bool {
        let by_operator = conditions.as_object().into_iter().flatten();
        let mut each = by_operator.flat_map(|(operator, keys)| {
            let keys = keys.as_object().unwrap().iter();
            keys.map(move |(key, wanted)| (operator.as_str(), key, texts(wanted)))
        });
        each.all(|(operator, key, wanted)| {
            let given = self.context.get(key);
            match operator {
                "Null" => (wanted == ["true"]) == given.is_none(),
                "Bool" | "StringEquals" => given.is_some_and(|g| wanted.contains(&g.as_str())),
                "StringLike" => given.is_some_and(|given| wanted.iter().any(|w| self.is_like(w, given))),
                other => panic!("the condition operator {other}"),
            }
        })
    }

    /// Whether a text fits a pattern, whose variables are filled in. One that has no value fits nothing.
    fn is_like(&self, pattern: &str, text: &str) -> bool {
        let mut filled = pattern.to_owned();
        while let Some((before, rest)) = filled.split_once("${") {
            let (name, after) = rest.split_once('}').unwrap();
            let Some(value) = self.context.get(name) else { return false };
            filled = format!("{before}{value}{after}");
        }
        let mut parts = filled.split('*');
        let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let mut last = None;
        for part in parts {
            if let Some(middle) = last.replace(part) {
                let Some(at) = rest.find(middle) else { return false };
                rest = &rest[at + middle.len()..];
            }
        }
        last.map_or(rest.is_empty(), |end| rest.ends_with(end))
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}
