//! How the C library's allocator deals with large buffers. Those that bodies are made and sent in come and go by the
//! dozen, on many threads; kept in each thread's heap between its small and long-lived neighbours they doubled the
//! resident memory of a daemon that catches up (docs/BENCHMARKS.md).
#![allow(unsafe_code)]

/// From this size on a buffer is mapped for itself, and given back when it is freed. The C library begins with
/// the same, and raises it each time such a buffer is freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD).
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 128 * 1024;
/// Heaps: few threads allocate at the same time, and what one has freed another can use.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// To be called first, while there is one thread.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and changes nothing but the allocator's parameters; there is no other
    // thread yet. A number that it does not take leaves things as they were.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}
