//! The image, built from `docker/Dockerfile` as it is.
//!
//! Owns: the store below `target/containers`, with the image and what it is built on. Where no registry is at hand, two
//! images stand in for its bases under their names: Debian from the packages of the distribution, and the same with a C
//! compiler, into which the machine's own Rust and the crates that it has are mounted.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::node::Node;
use test_harness::process::{command, program};
use test_harness::s3::root;

/// As the manifests name it.
pub const IMAGE: &str = "logsinkfs:0.1.0";
/// The bases of the Dockerfile, with the Debian packages that they have beside the essential ones, as far as it needs
/// them.
pub const DEBIAN: (&str, &str) = ("docker.io/library/debian:bookworm-slim", "");
const RUST: (&str, &str) = ("docker.io/library/rust:1.95-bookworm", "ca-certificates,gcc,libc6-dev");
/// What the Dockerfile is given, by the root's .dockerignore.
const SOURCES: [&str; 7] =
    ["Cargo.lock", "Cargo.toml", ".dockerignore", "benches", "build.rs", "docker/Dockerfile", "src"];

/// The store that has the image; builds it where it is missing or something that it is built from has changed.
pub fn store() -> PathBuf {
    let dir = root().join("target/containers");
    fs::create_dir_all(&dir).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let (built, sources) = (dir.join("built"), sources());
    if fs::read_to_string(&built).is_ok_and(|of| of == sources) {
        return dir.join("store");
    }
    build(&dir);
    fs::write(&built, sources).unwrap();
    dir.join("store")
}

/// A sum over all that the image is built from.
fn sources() -> String {
    let mut sum = DefaultHasher::new();
    sysroot().hash(&mut sum);
    for name in SOURCES {
        add(&root().join(name), &mut sum);
    }
    format!("{:016x}", sum.finish())
}

fn add(path: &Path, sum: &mut DefaultHasher) {
    path.hash(sum);
    if path.is_dir() {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        names.iter().for_each(|name| add(name, sum));
    } else {
        fs::read(path).unwrap().hash(sum);
    }
}

fn build(dir: &Path) {
    let node = Node::start(dir, &[]);
    make_bases(dir, &node);
    let volume = |from: PathBuf, to: &str| {
        let mut volume = OsString::from("--volume=");
        volume.push(from);
        volume.push(to);
        volume
    };
    // The other tests go first: they wait for things to happen in time.
    let mut build = node.command("nice");
    build.arg(program("podman"));
    // HEALTHCHECK is no part of the OCI's own format.
    build.args(["build", "--format=docker", "--network=none", "--tag", IMAGE]);
    build.arg(volume(sysroot(), ":/toolchain:ro")).arg(volume(cargo_home(), ":/cargo:O"));
    // What a container does is not how fast it does it.
    build.args(["LTO=off", "CODEGEN_UNITS=16", "OPT_LEVEL=1"].map(|quicker| format!("--build-arg={quicker}")));
    build.arg("--file").arg(root().join("docker/Dockerfile")).arg(root());
    let done = build.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{build:?} fails:\n{said}");
    node.podman(["image", "prune", "--force"]);
}

fn make_bases(dir: &Path, node: &Node) {
    let missing = |base: &&(&str, &str)| {
        let mut exists = node.command("podman");
        !exists.args(["image", "exists", base.0]).status().unwrap().success()
    };
    // Side by side: each waits for the network and the disk most of the time.
    let bootstraps: Vec<_> = [DEBIAN, RUST].iter().filter(missing).map(|base| bootstrap(dir, *base)).collect();
    for (name, tar, bootstrap) in bootstraps {
        let done = bootstrap.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "mmdebstrap for {name}:\n{said}");
        let mut import = vec!["import"];
        if name == RUST.0 {
            import.extend(RUST_CHANGES);
        }
        import.extend([tar.to_str().unwrap(), name]);
        node.podman(import);
        fs::remove_file(tar).unwrap();
    }
}

/// Debian with these packages, as an archive to import.
fn bootstrap<'a>(dir: &Path, (name, packages): (&'a str, &str)) -> (&'a str, PathBuf, Child) {
    let tar = dir.join(format!("{}.tar", name.replace(['/', ':'], "-")));
    let mut bootstrap = command(program("mmdebstrap"));
    bootstrap.arg("--variant=minbase");
    if !packages.is_empty() {
        bootstrap.arg(format!("--include={packages}"));
    }
    // As the image of that name does.
    bootstrap.arg("--dpkgopt=path-exclude=/usr/share/doc/*");
    bootstrap.arg("--dpkgopt=path-exclude=/usr/share/man/*");
    bootstrap.arg("--dpkgopt=path-exclude=/usr/share/locale/*");
    bootstrap.arg("bookworm").arg(&tar);
    let bootstrap = bootstrap.stderr(Stdio::piped()).spawn().unwrap();
    (name, tar, bootstrap)
}

/// What the stand-in says about the Rust that is mounted into it. The crates are those with which this test was built,
/// so nothing is fetched.
const RUST_CHANGES: [&str; 6] = [
    "--change",
    "ENV PATH=/toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "--change",
    "ENV CARGO_HOME=/cargo",
    "--change",
    "ENV CARGO_NET_OFFLINE=true",
];

fn sysroot() -> PathBuf {
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    String::from_utf8(rustc.stdout).unwrap().trim().into()
}

fn cargo_home() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"))
}
