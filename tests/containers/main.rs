//! The image and the manifests for real: the Dockerfile is built, and pods that are made from the manifests run on it,
//! on podman instead of a cluster.
//!
//! They run as root on Linux with FUSE; `tests/setup.sh` installs podman and what it needs. The image is built once, by
//! whichever test needs it first, and kept below `target/containers` until what it is built from changes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test ends at the first surprise")]

mod daemonset;
mod harness;
mod image;
mod sidecar;
