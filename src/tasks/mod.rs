//! Floor 3: the tasks between spool and bucket. Each owns its state alone: it selects on what can
//! happen, and applies it.

pub mod body;
pub mod decode;
pub mod drop;
pub mod examine;
pub mod feed;
pub mod gather;
pub mod lister;
pub mod objects;
pub mod outbox;
pub mod parts;
pub mod registrar;
pub mod restorer;
pub mod seal;
pub mod sealer;
pub mod send;
pub mod settle;
pub mod streamed;
pub mod unpack;
pub mod uploader;
pub mod walk;
