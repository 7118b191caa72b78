//! What an auditor sees of the bucket: Object Lock, tags and ACLs.

use std::collections::BTreeMap;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockRetentionMode, ObjectLockRule,
};

use super::bucket::Bucket;

impl Bucket {
    /// Makes this bucket one with Object Lock, and with a retention of a month for whatever comes without its own.
    pub fn make_locked(&self, by_default: bool) {
        self.wait(async {
            let create = self.client.create_bucket().bucket(&self.name).object_lock_enabled_for_bucket(true);
            create.send().await.unwrap();
            if by_default {
                let month = DefaultRetention::builder().mode(ObjectLockRetentionMode::Compliance).days(30);
                let rule = ObjectLockRule::builder().default_retention(month.build()).build();
                let enabled = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled);
                let put = self.client.put_object_lock_configuration().bucket(&self.name);
                put.object_lock_configuration(enabled.rule(rule).build()).send().await.unwrap();
            }
        });
    }

    /// All that a HEAD tells.
    pub fn head(&self, key: &str) -> HeadObjectOutput {
        self.wait(async { self.client.head_object().bucket(&self.name).key(key).send().await.unwrap() })
    }

    /// The tags of an object.
    pub fn tags(&self, key: &str) -> BTreeMap<String, String> {
        let tags =
            self.wait(async { self.client.get_object_tagging().bucket(&self.name).key(key).send().await.unwrap() });
        tags.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect()
    }

    /// The ids of all versions of an object, the marks of its deletion too.
    pub fn all_versions(&self, key: &str) -> Vec<String> {
        let list = self.client.list_object_versions().bucket(&self.name).prefix(key);
        let listed = self.wait(async { list.send().await.unwrap() });
        let objects = listed.versions().iter().map(|version| version.version_id());
        let marks = listed.delete_markers().iter().map(|mark| mark.version_id());
        objects.chain(marks).map(|id| id.unwrap().to_owned()).collect()
    }

    /// Tries to delete a version for good; gives the code of the refusal.
    pub fn delete_version(&self, key: &str, version: &str, bypass: bool) -> Option<String> {
        let delete = self.client.delete_object().bucket(&self.name).key(key).version_id(version);
        let delete = delete.set_bypass_governance_retention(bypass.then_some(true));
        let refused = self.wait(async { delete.send().await.err() });
        refused.map(|e| e.code().unwrap_or_default().to_owned())
    }

    /// Lifts a legal hold.
    pub fn lift_hold(&self, key: &str) {
        let hold = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::Off).build();
        let put = self.client.put_object_legal_hold().bucket(&self.name).key(key).legal_hold(hold);
        self.wait(async { put.send().await.unwrap() });
    }
}
