//! What a test in containers stands on: a node, a bucket on its loopback, and a folder in which the paths of the node
//! are.
//!
//! Owns: the folder, the server, and how an application is put into a pod.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::image;
use super::manifest::{self, Place};
use super::node::Node;
use super::pod::{Pod, free_port};
use test_harness::bucket::Bucket;
use test_harness::journal::Ledger;
use test_harness::s3::{Kind, Server, root};
use test_harness::wait::eventually;

const PREFIX: &str = "team/";

pub struct World {
    pub node: Node,
    server: Server,
    pub dir: TempDir,
}

impl World {
    pub fn new() -> Self {
        let store = image::store();
        let dir = tempfile::Builder::new().prefix("logsinkfs-node-").tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for path in ["journals", "run", "var/lib/logsinkfs"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        // Applications are no root.
        fs::set_permissions(dir.path().join("journals"), Permissions::from_mode(0o777)).unwrap();
        let server = Server::start(Kind::Embedded, &dir.path().join("bucket"));
        let node = Node::start(&dir.path().join("podman"), &[&store]);
        Self { node, server, dir }
    }

    /// Another client of the bucket.
    pub fn bucket(&self) -> Bucket {
        Bucket::new(&self.server.access, PREFIX)
    }

    pub fn source(&self) -> String {
        format!("s3://{}/{PREFIX}", self.server.access.bucket)
    }

    /// How the bucket is reached, as variables of the environment.
    pub fn settings(&self) -> [(&'static str, &str); 7] {
        let access = &self.server.access;
        [
            ("AWS_ACCESS_KEY_ID", &access.key_id),
            ("AWS_SECRET_ACCESS_KEY", &access.secret),
            ("LOGSINKFS_REGION", &access.region),
            ("LOGSINKFS_ENDPOINT_URL", &access.endpoint),
            ("LOGSINKFS_FORCE_PATH_STYLE", "true"),
            // Segments are made while a test runs.
            ("LOGSINKFS_ROTATE_SIZE", "32KiB"),
            // Nothing is dropped because the tester's disk is nearly full.
            ("LOGSINKFS_SPOOL_MIN_FREE", "0"),
        ]
    }

    /// The objects of a kustomization, with this world's bucket in their configuration.
    pub fn render(&self, kustomization: &str) -> Vec<Value> {
        let mut objects = manifest::render(kustomization);
        for object in &mut objects {
            if object.pointer("/data/LOGSINKFS_SOURCE").is_none() {
                continue;
            }
            object["data"]["LOGSINKFS_SOURCE"] = json!(self.source());
            for (name, value) in self.settings() {
                object["data"][name] = json!(value);
            }
        }
        objects
    }

    /// A pod of some kind of object, as podman can run it, and the port that it has in the place of its own.
    pub fn place(&self, name: &str, namespace: &str, of: &Value, objects: &[Value]) -> (Value, u16) {
        let port = free_port();
        let place = Place { pod: name, namespace, node: self.dir.path(), port };
        (manifest::for_podman(of, objects, &place), port)
    }

    /// Makes a container an application that logs.
    pub fn application(&self, pod: &mut Value, container: &str, log: &str) -> Journal {
        let name = format!("{}-{container}", pod["metadata"]["name"].as_str().unwrap());
        let journals = self.dir.path().join("journals");
        let application = manifest::container(pod, container);
        application.insert("command".into(), json!(["/bin/bash", "/programs/application.sh"]));
        application.insert("args".into(), json!([name, log, format!("/journals/{name}")]));
        let programs = root().join("tests/containers/programs");
        manifest::add_folder(pod, container, "programs", &programs, "/programs");
        manifest::add_folder(pod, container, "journals", &journals, "/journals");
        Journal { path: journals.join(name) }
    }

    pub fn create(&self, pod: &Value) -> Pod<'_> {
        Pod::create(&self.node, pod)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.node.end();
        // A guarded mount point would keep its folder.
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(self.dir.path()).status();
    }
}

/// What an application says it wrote.
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    fn acknowledged(&self) -> usize {
        let journal = fs::read_to_string(&self.path).unwrap_or_default();
        journal.lines().filter(|line| line.starts_with("ok ")).count()
    }

    /// Waits until `more` further lines were acknowledged.
    pub fn await_more(&self, more: usize) {
        let goal = self.acknowledged() + more;
        let what = format!("{goal} lines in {}", self.path.display());
        eventually(&what, || (self.acknowledged() >= goal).then_some(()));
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::read(&self.path)
    }
}
