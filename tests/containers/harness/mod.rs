//! The harness of the tests in containers.
//!
//! Owns: nodes (namespaces in which podman works), the image, pods made from manifests, and their end. Does not own:
//! processes, buckets and journals of what was written, which it shares with the end-to-end tests.

pub mod image;
pub mod manifest;
pub mod node;
pub mod pod;
pub mod world;

pub use world::World;
