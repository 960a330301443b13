//! Structures and flags of system calls that other architectures have in another form.

/// Open flag of pipes: each write is a packet.
pub const O_DIRECT: u32 = 0o40000;
/// Open flag: directories only.
pub const O_DIRECTORY: u32 = 0o200000;
/// Open flag: refuse a symbolic link as the last component.
pub const O_NOFOLLOW: u32 = 0o400000;

/// `struct stat`.
#[derive(Default)]
#[repr(C)]
pub(in crate::runtime) struct RawStat {
    device: u64,
    pub(in crate::runtime) inode: u64,
    links: u64,
    pub(in crate::runtime) mode: u32,
    pub(in crate::runtime) uid: u32,
    gid: u32,
    pad: u32,
    special: u64,
    pub(in crate::runtime) size: u64,
    block_size: u64,
    blocks: u64,
    accessed: [u64; 2],
    pub(in crate::runtime) seconds: i64,
    pub(in crate::runtime) nanoseconds: i64,
    changed: [u64; 2],
    unused: [u64; 3],
}

const _: () = assert!(size_of::<RawStat>() == 144);
