//! The files of k8s/identity as they stand: JSON that AWS would take for what it is, rights that agree with the table
//! in docs/IDENTITY.md, and no right to delete or overwrite. What the rights do to the program is tried in
//! tests/e2e/identity.rs. Every rule is tried on an example that breaks it before it looks at the files.

#![allow(clippy::panic, reason = "a test ends at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Names that stand for the user's own, the same in all files.
const BUCKET: &str = "arn:aws:s3:::my-bucket";
const BELOW: &str = "arn:aws:s3:::my-bucket/logs/";
const ACCOUNT: &str = "111122223333";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<(String, Value)> {
    let dir = root().join("k8s/identity").join(folder);
    let mut found: Vec<_> = fs::read_dir(dir)
        .expect(folder)
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| (name(&path), parsed(&path)))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!found.is_empty(), "{folder} has files");
    found
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn parsed(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn policy(name: &str) -> Value {
    parsed(&root().join(format!("k8s/identity/policies/{name}.json")))
}

/// A text, or all of several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn statements(policy: &Value) -> &[Value] {
    policy["Statement"].as_array().map_or(&[], Vec::as_slice)
}

fn actions(policy: &Value) -> BTreeSet<&str> {
    statements(policy).iter().flat_map(|statement| texts(&statement["Action"])).collect()
}

/// What is wrong with a policy of a role.
fn faults(policy: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if policy["Version"] != "2012-10-17" || statements(policy).is_empty() {
        faults.push("it has no version or no statement".to_owned());
    }
    for statement in statements(policy) {
        let mut fault = |what: String| faults.push(format!("{what} in {statement}"));
        if statement["Effect"] != "Allow" || !statement["Principal"].is_null() {
            fault("something else than a right of the role".to_owned());
        }
        for action in texts(&statement["Action"]) {
            if action.contains('*') || action.contains("Delete") || action.ends_with("Acl") {
                fault(format!("`{action}`"));
            }
            let fits = |resource: &&str| match action.split(':').next() {
                Some("s3") if action == "s3:ListBucket" => *resource == BUCKET,
                Some("s3") => resource.starts_with(BELOW) && resource.ends_with("/*"),
                Some(service) => {
                    let service = service.replace("sts", "iam");
                    resource.starts_with(&format!("arn:aws:{service}:")) && resource.contains(ACCOUNT)
                }
                None => false,
            };
            let resources = texts(&statement["Resource"]);
            if resources.is_empty() || !resources.iter().all(fits) {
                fault(format!("{resources:?} for `{action}`"));
            }
            // Without it the names of everybody's logs can be listed.
            let prefix = &statement["Condition"]["StringLike"]["s3:prefix"];
            if action == "s3:ListBucket" && !texts(prefix).iter().any(|p| p.starts_with("logs/")) {
                fault("a listing of the whole bucket".to_owned());
            }
        }
    }
    faults
}

fn allowing(action: &str, resource: &str) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": action, "Resource": resource }
    ] })
}

#[test]
fn no_role_may_delete_or_reach_beyond_its_prefix() {
    for broken in [
        json!({ "Version": "2012-10-17", "Statement": [] }),
        allowing("s3:DeleteObject", "arn:aws:s3:::my-bucket/logs/*"),
        allowing("s3:*", "arn:aws:s3:::my-bucket/logs/*"),
        allowing("s3:PutObject", "arn:aws:s3:::my-bucket/*"),
        allowing("s3:PutObject", "arn:aws:s3:::other/logs/*"),
        allowing("s3:ListBucket", "arn:aws:s3:::my-bucket"),
        allowing("s3:ListBucketMultipartUploads", "arn:aws:s3:::my-bucket"),
        allowing("kms:Decrypt", "*"),
        allowing("sts:AssumeRole", "arn:aws:iam::444455556666:role/other"),
    ] {
        assert!(!faults(&broken).is_empty(), "nothing is seen in {broken}");
    }
    for (name, policy) in files("policies") {
        assert_eq!(faults(&policy), Vec::<String>::new(), "{name}");
    }
}

/// The words in backquotes of a line that name a right.
fn rights(line: &str) -> BTreeSet<&str> {
    let is_right = |word: &&str| ["s3:", "kms:", "sts:"].iter().any(|s| word.starts_with(s)) && !word.contains(' ');
    line.split('`').filter(is_right).collect()
}

#[test]
fn the_table_of_rights_says_what_the_policies_give() {
    let document = fs::read_to_string(root().join("docs/IDENTITY.md")).expect("IDENTITY.md");
    let table: Vec<_> = document.split("## Rights").nth(1).expect("the table").lines().collect();
    let row = |start: &str| {
        let row = table.iter().find(|line| line.starts_with(start));
        rights(row.unwrap_or_else(|| panic!("no row `{start}`")).rsplit('|').nth(1).unwrap_or(""))
    };
    let live = &row("| `--view live`") | &row("| whole files above 64 MiB");
    let read_back = &live | &row("| read reclaimed bytes back");
    let bucket = &read_back | &row("| `--view bucket`");
    assert_eq!(actions(&policy("writer-live")), live);
    assert_eq!(actions(&policy("writer-read-back")), read_back);
    assert_eq!(actions(&policy("writer-view-bucket")), bucket);
    // The row says what it does not need as well.
    let reader = row("| `--read-only`");
    assert_eq!(&reader - &actions(&policy("reader")), BTreeSet::from(["s3:PutObject"]));
    assert!(actions(&policy("reader")).is_subset(&reader));
    let kms = [policy("kms-writer"), policy("kms-reader")];
    // S3 reads the parts of a large object to put them together.
    assert_eq!(actions(&kms[0]), row("| `--sse aws:kms`"));
    assert_eq!(actions(&kms[1]), BTreeSet::from(["kms:Decrypt"]));
    assert!(row("| `--role-arn`").is_subset(&actions(&policy("role-arn"))));
    assert_eq!(actions(&policy("abac-writer")), live);
    assert_eq!(actions(&policy("abac-reader")), actions(&policy("reader")));

    let shown = table.join("\n");
    let shown = shown.split("```json").nth(1).and_then(|rest| rest.split("```").next());
    let shown: Value = serde_json::from_str(shown.expect("a policy")).expect("JSON");
    assert_eq!(shown, policy("writer-view-bucket"), "IDENTITY.md shows another policy");
}

#[test]
fn a_role_is_trusted_to_named_service_accounts_alone() {
    let is_narrow = |trust: &Value| {
        statements(trust).iter().all(|statement| {
            let to = &statement["Principal"];
            let named = statement["Condition"]["StringEquals"].to_string();
            match (&to["Federated"], &to["Service"], &to["AWS"]) {
                (Value::String(provider), Value::Null, Value::Null) => {
                    let issuer = provider.rsplit("oidc-provider/").next().unwrap_or_default();
                    named.contains(&format!("{issuer}:sub"))
                        && named.contains(&format!("{issuer}:aud"))
                        && actions(trust) == BTreeSet::from(["sts:AssumeRoleWithWebIdentity"])
                }
                (Value::Null, Value::String(service), Value::Null) => {
                    service == "pods.eks.amazonaws.com"
                        && named.contains("kubernetes-service-account")
                        && named.contains(ACCOUNT)
                        && actions(trust) == BTreeSet::from(["sts:AssumeRole", "sts:TagSession"])
                }
                (Value::Null, Value::Null, Value::String(role)) => role.contains(":role/"),
                _ => false,
            }
        })
    };
    let mut broken = parsed(&root().join("k8s/identity/trust/pod-identity.json"));
    broken["Statement"][0]["Action"] = json!("sts:AssumeRole");
    assert!(!is_narrow(&broken), "a session without tags");
    let mut broken = parsed(&root().join("k8s/identity/trust/irsa.json"));
    broken["Statement"][0]["Condition"] = json!({});
    assert!(!is_narrow(&broken), "every service account of the cluster");
    for (name, trust) in files("trust") {
        assert!(is_narrow(&trust), "{name}: {trust}");
    }
}

#[test]
fn what_the_buckets_owner_sets_names_the_same_bucket_and_deletes_by_age_alone() {
    for (name, file) in files("bucket") {
        let text = file.to_string();
        assert!(!text.contains("Delete"), "{name} speaks of deleting: {text}");
        for arn in text.split('"').filter(|word| word.starts_with("arn:aws:s3:::")) {
            let layers = arn.starts_with("arn:aws:s3:::prod-eu-central-1-starport-layer-bucket/");
            assert!(layers || arn.starts_with(BUCKET), "{name}: {arn}");
        }
    }
}

#[test]
fn uploads_in_parts_that_nobody_finishes_are_aborted_in_the_whole_bucket() {
    let rules = parsed(&root().join("k8s/identity/bucket/lifecycle.json"));
    let aborting = |rule: &Value| {
        let days = rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"].as_u64();
        rule["Status"] == "Enabled" && rule["Filter"]["Prefix"] == "" && days.is_some_and(|days| days <= 7)
    };
    assert!(rules["Rules"].as_array().is_some_and(|rules| rules.iter().any(aborting)), "{rules}");
}

/// Held against what CloudFormation knows of its resources, by the linter that comes with moto.
#[test]
fn cloudformation_takes_the_association_for_what_it_is() {
    let lint = |path: &Path| {
        let lint = Command::new(root().join("target/venv/bin/cfn-lint")).arg(path).output();
        let lint = lint.expect("run tests/setup.sh first");
        (lint.status.success(), String::from_utf8_lossy(&lint.stdout).into_owned())
    };
    let association = root().join("k8s/identity/pod-identity/association.yaml");
    let text = fs::read_to_string(&association).expect("association.yaml");
    let dir = tempfile::tempdir().expect("a folder");
    let broken = dir.path().join("broken.yaml");
    fs::write(&broken, text.replace("RoleArn:", "Role:")).expect("a file");
    assert!(!lint(&broken).0, "nothing is seen in a property that is not there");
    let (sound, said) = lint(&association);
    assert!(sound, "{said}");
}
