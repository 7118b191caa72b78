//! Floor 3: the tasks between spool and bucket. Each owns its state alone: it selects on what can
//! happen, and applies it.

#[cfg(target_os = "linux")]
pub mod body;
pub mod decode;
#[cfg(target_os = "linux")]
pub mod drop;
pub mod examine;
#[cfg(target_os = "linux")]
pub mod feed;
pub mod gather;
#[cfg(target_os = "linux")]
pub mod lister;
#[cfg(target_os = "linux")]
pub mod objects;
#[cfg(target_os = "linux")]
pub mod outbox;
#[cfg(target_os = "linux")]
pub mod parts;
#[cfg(target_os = "linux")]
pub mod registrar;
#[cfg(target_os = "linux")]
pub mod restorer;
#[cfg(target_os = "linux")]
pub mod seal;
#[cfg(target_os = "linux")]
pub mod sealer;
#[cfg(target_os = "linux")]
pub mod send;
#[cfg(target_os = "linux")]
pub mod settle;
pub mod streamed;
pub mod unpack;
#[cfg(target_os = "linux")]
pub mod uploader;
pub mod walk;
