//! What one test stands on: a folder, a bucket, and mounts of it.
//!
//! Owns: the temporary folder and the S3 server. Declare a rig before the mounts of it, so that it is dropped after
//! them.

use std::path::PathBuf;

use tempfile::TempDir;

use super::bucket::Bucket;
use super::gate::Gate;
use super::mount::{Mount, Plan};
use super::s3::{Kind, Server, logsinkfs};

/// The prefix below which every mount of the tests lives, so that nothing hides in the root.
pub const PREFIX: &str = "team/";

pub struct Rig {
    pub server: Option<Server>,
    pub access: super::s3::Access,
    pub dir: TempDir,
}

impl Rig {
    /// A fresh folder and a fresh bucket.
    pub fn new(kind: Kind) -> Self {
        let dir = folder();
        let server = Server::start(kind, &dir.path().join("bucket"));
        Self::with(dir, server)
    }

    /// The usual rig, on the embedded bucket.
    pub fn embedded() -> Self {
        Self::new(Kind::Embedded)
    }

    /// A rig on a server that runs already.
    pub fn with(dir: TempDir, server: Server) -> Self {
        for name in ["local", "home"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self { access: server.access.clone(), server: Some(server), dir }
    }

    /// A file or folder on the local disk, outside of any mount.
    pub fn local(&self, name: &str) -> PathBuf {
        self.dir.path().join("local").join(name)
    }

    /// A plan for the mount `name`: a mount point and a spool of its own, live files only.
    pub fn plan(&self, name: &str) -> Plan {
        let point = self.dir.path().join(format!("mnt-{name}"));
        std::fs::create_dir_all(&point).unwrap();
        Plan {
            program: logsinkfs().into(),
            access: self.access.clone(),
            source: format!("s3://{}/{PREFIX}", self.access.bucket),
            point,
            spool: self.dir.path().join(format!("spool-{name}")),
            home: self.dir.path().join("home"),
            flags: vec!["--view".into(), "live".into()],
            reader: false,
            env: Vec::new(),
        }
    }

    /// Mounts with these flags beside the usual ones.
    pub fn mount(&self, flags: &[&str]) -> Mount {
        self.plan("a").with(flags).start()
    }

    /// A mount that shows the bucket as well.
    pub fn mount_bucket_view(&self, flags: &[&str]) -> Mount {
        self.plan_bucket_view().with(flags).start()
    }

    /// A plan for a mount that shows the bucket as well.
    pub fn plan_bucket_view(&self) -> Plan {
        let mut plan = self.plan("a");
        plan.flags = vec!["--view".into(), "bucket".into()];
        plan
    }

    /// Mounts for reading, with these flags.
    pub fn read(&self, flags: &[&str]) -> Mount {
        self.plan_reader(flags).start()
    }

    /// A plan for a mount for reading.
    pub fn plan_reader(&self, flags: &[&str]) -> Plan {
        let mut plan = self.plan("reader");
        (plan.reader, plan.flags) = (true, Vec::new());
        plan.with(flags)
    }

    /// A gate in front of this rig's server.
    pub fn gate(&self) -> Gate {
        Gate::before(&self.access.endpoint)
    }

    /// Another client of the same bucket.
    pub fn bucket(&self) -> Bucket {
        Bucket::new(&self.access, PREFIX)
    }
}

/// A temporary folder that the test removes. Others may search it: the worker is no root.
pub fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let searchable = PermissionsExt::from_mode(0o755);
    let prefix = "logsinkfs-e2e-";
    tempfile::Builder::new().prefix(prefix).permissions(searchable).tempdir().unwrap()
}
