//! Tuning of the C library's allocator for large buffers.
//!
//! Buffers for request bodies are allocated by the dozen on many threads. Kept in each thread's heap between small and
//! long-lived neighbours, they doubled the resident memory of a daemon that catches up (docs/BENCHMARKS.md).
//!
//! The buffers that fuser reads requests into are populated when they are allocated. The kernel takes a request off its
//! queue before it copies it; a SIGKILL that meets the copy at a page that is not present makes the copy fail, and the
//! kernel ends the request with EIO instead of keeping it for the next worker
//! ([`fuse_dev_do_read`](https://elixir.bootlin.com/linux/v6.18/source/fs/fuse/dev.c)).
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

use crate::fuse::abi::MAX_WRITE;

/// From this size on a buffer is mapped for itself, and given back when it is freed. The C library begins with the
/// same, and raises it each time such a buffer is freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD).
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 128 * 1024;
/// Heaps: few threads allocate at the same time, and what one has freed another can use.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// To be called first, while there is one thread.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and changes nothing but the allocator's parameters; there is no other thread
    // yet. A number that it does not take leaves things as they were.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// What fuser 0.18 reads requests into: 16 MiB, which no kernel fills, and a page.
const REQUEST_BUFFER: usize = (16 << 20) + PAGE;
const PAGE: usize = 4096;

/// The C library's allocator, which gives fuser's buffers the pages that requests are read into.
pub struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: All is done by the system's allocator.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller's promises are those that `System` asks for; so for the other three.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: See `alloc`.
        let buffer = unsafe { System.alloc_zeroed(layout) };
        if layout.size() == REQUEST_BUFFER && !buffer.is_null() {
            let first = buffer.map_addr(|at| at & !(PAGE - 1));
            // A header, and less than a page before it.
            let used = MAX_WRITE as usize + 2 * PAGE;
            // SAFETY: The pages are those of the buffer, but for bytes before it on its first page, which are not
            // changed: MADV_POPULATE_WRITE makes pages writable as a write does. Where Linux is too old for it, nothing
            // happens.
            let _ = unsafe { libc::madvise(first.cast(), used, libc::MADV_POPULATE_WRITE) };
        }
        buffer
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: See `alloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: See `alloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}
