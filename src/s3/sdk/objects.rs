//! What new objects are given by PutObject and CreateMultipartUpload alike, and the header that keeps writes from
//! overwriting.

use std::collections::BTreeMap;

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ObjectCannedAcl, ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption, StorageClass,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::settings::objects::{Checksum, LockMode, NoOverwrite};
use crate::settings::writer::S3Settings;
use crate::types::time::Utc;

/// What a query string has as it is.
const IN_TAGGING: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What every new object is given.
#[derive(Debug)]
pub(super) struct Given {
    pub sse: Option<ServerSideEncryption>,
    pub sse_kms_key_id: Option<String>,
    pub kms_context: Option<String>,
    pub storage_class: Option<StorageClass>,
    pub acl: Option<ObjectCannedAcl>,
    pub lock_mode: Option<ObjectLockMode>,
    pub legal_hold: Option<ObjectLockLegalHoldStatus>,
    pub checksum: Checksum,
    no_overwrite: NoOverwrite,
}

impl Given {
    pub(super) fn new(settings: &S3Settings) -> Given {
        let objects = &settings.objects;
        let usual = || NoOverwrite { name: "if-none-match".to_owned(), value: "*".to_owned() };
        Given {
            sse: settings.sse.as_deref().map(ServerSideEncryption::from),
            sse_kms_key_id: settings.sse_kms_key_id.clone(),
            kms_context: encryption_context(&objects.kms_context),
            storage_class: settings.storage_class.as_deref().map(StorageClass::from),
            acl: objects.acl.as_deref().map(ObjectCannedAcl::from),
            lock_mode: objects.retention.map(|retention| match retention.mode {
                LockMode::Governance => ObjectLockMode::Governance,
                LockMode::Compliance => ObjectLockMode::Compliance,
            }),
            legal_hold: objects.legal_hold.then_some(ObjectLockLegalHoldStatus::On),
            checksum: objects.checksum,
            no_overwrite: objects.no_overwrite.clone().unwrap_or_else(usual),
        }
    }

    /// Makes a request one that does not overwrite.
    pub(super) fn no_overwrite(&self) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
        let NoOverwrite { name, value } = self.no_overwrite.clone();
        move |request| {
            request.headers_mut().insert(name.clone(), value.clone());
        }
    }
}

/// Gives a request for a new object what the object is to have. The two requests have no type in common.
macro_rules! given {
    ($request:expr, $given:expr, $properties:expr) => {
        $request
            .set_server_side_encryption($given.sse.clone())
            .set_ssekms_key_id($given.sse_kms_key_id.clone())
            .set_ssekms_encryption_context($given.kms_context.clone())
            .set_storage_class($given.storage_class.clone())
            .set_acl($given.acl.clone())
            .set_object_lock_mode($given.lock_mode.clone().filter(|_| $properties.retain_until.is_some()))
            .set_object_lock_retain_until_date($properties.retain_until.map($crate::s3::sdk::objects::date))
            .set_object_lock_legal_hold_status($given.legal_hold.clone())
            .set_tagging($crate::s3::sdk::objects::tagging(&$properties.tags))
    };
}
pub(super) use given;

/// A time in whole seconds, which every service reads; never an earlier one.
pub(super) fn date(time: Utc) -> DateTime {
    const SECOND: i64 = 1_000_000;
    DateTime::from_secs(time.micros().div_euclid(SECOND) + i64::from(time.micros().rem_euclid(SECOND) > 0))
}

/// Tags as a query string.
pub(super) fn tagging(tags: &[(String, String)]) -> Option<String> {
    let encoded = |text: &str| utf8_percent_encode(text, IN_TAGGING).to_string();
    let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// JSON in base64.
fn encryption_context(context: &BTreeMap<String, String>) -> Option<String> {
    let text = |(key, value): (&String, &String)| (key.clone(), serde_json::Value::from(value.clone()));
    let json = serde_json::Value::Object(context.iter().map(text).collect()).to_string();
    (!context.is_empty()).then(|| aws_smithy_types::base64::encode(json))
}
