//! The kernel's FUSE ABI, as far as fuser does not cover it: numbers and layouts of
//! [linux/fuse.h](https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/uapi/linux/fuse.h).

/// Device number of /dev/fuse (linux/miscdevice.h).
pub const DEV_FUSE: (u32, u32) = (10, 229);
/// Size of the smallest buffer for a request (`FUSE_MIN_READ_BUFFER`); requests are read and written whole.
pub const REQUEST_MIN: usize = 8192;
/// `FUSE_INIT`, the first request of a mount.
pub const OPCODE_INIT: u32 = 26;
/// Offsets of the two words of flags in FUSE_INIT, behind header, versions and read-ahead.
pub const INIT_FLAGS_AT: (usize, usize) = (52, 56);
/// `FUSE_INIT_EXT`, in the first word: the second word counts.
pub const INIT_EXT: u32 = 1 << 30;
/// `FUSE_HAS_RESEND`, bit 39, in the second word.
pub const HAS_RESEND: u32 = 1 << 7;
/// More than the longest answer to FUSE_INIT.
pub const INIT_ANSWER_MAX: usize = 4096;
/// `FUSE_NOTIFY_RESEND`: send unanswered requests again.
pub const NOTIFY_RESEND: u32 = 7;
/// `FUSE_NOTIFY_PRUNE`, since Linux 6.18: forget nodes that nobody uses.
pub const NOTIFY_PRUNE: u32 = 9;
/// `FUSE_UNIQUE_RESEND`: the bit of a request's id that says that it was sent again.
pub const UNIQUE_RESEND: u64 = 1 << 63;
/// Most bytes of a write that come in one request. Each thread has so much memory for them, used or not
/// (`sys::allocator`). A write of 1 MiB takes four; that is 0.88 as fast as one.
pub const MAX_WRITE: u32 = 256 << 10;
/// `_IOW(229, 1, struct fuse_backing_map)`.
pub const BACKING_OPEN: libc::Ioctl = 0x4010_e501_u32 as libc::Ioctl;
/// `_IOW(229, 2, uint32_t)`.
pub const BACKING_CLOSE: libc::Ioctl = 0x4004_e502_u32 as libc::Ioctl;

/// `struct fuse_backing_map`.
#[repr(C)]
pub struct BackingMap {
    /// The file.
    pub fd: i32,
    /// None are defined.
    pub flags: u32,
    /// 0.
    pub padding: u64,
}
