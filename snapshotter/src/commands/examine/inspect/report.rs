//! A snapshot as a report for people and other programs. The fields are stable: new ones may come, but none goes or
//! changes its meaning without a new `schema`. Addresses are hexadecimal text, sizes are numbers of bytes.

use super::made::MadeOf;
use super::needs::Needs;
use crate::commands::examine::names;
use crate::commands::examine::source::Snapshot;
use crate::commands::examine::space::{Source, Space, text};
use crate::commands::examine::text::{hex, time};
use serde::Serialize;
use snapfn_format::snap::*;
use snapfn_store::{Kind, Stores};
use std::collections::HashMap;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) path: String,
    /// SHA-256 of the snapshot, for one in a store.
    pub(super) digest: Option<String>,
    /// Digests of all snapshots of its tag, this one first; empty if it is the only one.
    pub(super) variants: Vec<String>,
    /// Their sizes; absent if a variant cannot be read.
    pub(super) variant_sizes: Vec<Option<u64>>,
    pub(super) size: u64,
    /// Bytes that the loader reads before it maps anything.
    pub(super) plan_size: u64,
    pub(super) program: Program,
    pub(super) needs: Needs,
    pub(super) files: Vec<FileRow>,
    pub(super) memory: Memory,
    pub(super) operations: Operations,
    pub(super) patches: Patches,
    pub(super) threads: Vec<ThreadRow>,
    pub(super) descriptors: Vec<Descriptor>,
    pub(super) signals: Vec<Signal>,
    pub(super) pending_signals: Vec<Pending>,
    pub(super) settings: Vec<String>,
    pub(super) timers: Vec<TimerRow>,
    pub(super) environment: Vec<Environment>,
    #[serde(flatten)]
    pub(super) made: MadeOf,
}

#[derive(Debug, Serialize)]
pub(super) struct Program {
    pub(super) path: String,
    pub(super) arguments: Vec<String>,
    /// `main`, `ready`, `syscall`, `symbol` or `attach`.
    pub(super) point: &'static str,
    /// RFC 3339, in UTC.
    pub(super) created: Option<String>,
    pub(super) created_unix: u64,
    pub(super) pid: u32,
    /// Absent: the starter's.
    pub(super) working_directory: Option<String>,
    /// Octal; absent: the starter's.
    pub(super) umask: Option<String>,
    pub(super) monotonic_ns: u64,
    pub(super) boottime_ns: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct FileRow {
    pub(super) index: usize,
    /// `snapshot`, `code`, `data` or `host`.
    pub(super) kind: &'static str,
    pub(super) digest: Option<String>,
    pub(super) size: u64,
    /// Bytes of address space mapped from it.
    pub(super) mapped: u64,
    /// Path that the program saw.
    pub(super) path: Option<String>,
    /// Its path in a local store; absent for host files, and if it is missing.
    pub(super) stored: Option<String>,
}

/// Bytes by their source; the parts add up to `total`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Memory {
    pub(super) total: u64,
    /// Code segment files: read-only, shared by all instances of all programs.
    pub(super) code: u64,
    /// Other files of the store.
    pub(super) data: u64,
    /// Files of the host.
    pub(super) host: u64,
    /// Mappings of descriptors (memfd and the like).
    pub(super) descriptor: u64,
    /// Pages of the snapshot, mapped; copied when written.
    pub(super) snapshot: u64,
    /// Bytes of the snapshot that are read in at start.
    pub(super) read: u64,
    /// Zeros.
    pub(super) zeros: u64,
    /// Stack that has not been written.
    pub(super) stack: u64,
    pub(super) mappings: Vec<Mapping>,
}

#[derive(Debug, Serialize)]
pub(super) struct Mapping {
    pub(super) start: String,
    pub(super) end: String,
    pub(super) size: u64,
    /// As in /proc/PID/maps.
    pub(super) protection: String,
    /// `code`, `data`, `host`, `descriptor`, `snapshot`, `zeros` or `stack`.
    pub(super) source: &'static str,
    pub(super) file: Option<usize>,
    pub(super) offset: u64,
    /// Bytes that are read in.
    pub(super) read: u64,
    /// Bytes that get another protection after the last write.
    pub(super) protected: u64,
    pub(super) protected_to: Option<String>,
    /// Path, or a name in brackets.
    pub(super) name: String,
    #[serde(skip)]
    pub(super) range: (u64, u64),
    #[serde(skip)]
    pub(super) kind: Source,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Operations {
    pub(super) total: usize,
    pub(super) map_file: usize,
    pub(super) map_zeros: usize,
    pub(super) map_descriptor: usize,
    pub(super) read: usize,
    pub(super) protect: usize,
    pub(super) advise: usize,
    pub(super) lock: usize,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Patches {
    pub(super) total: usize,
    /// Patches of registers; the others are of memory.
    pub(super) registers: usize,
    pub(super) argv: usize,
    pub(super) envp: usize,
    pub(super) argc: usize,
    pub(super) canary: usize,
    /// The stack pointer of a program without a libc.
    pub(super) stack: usize,
    pub(super) tid: usize,
    pub(super) tid_futex: usize,
    /// IDs of CPU clocks, which name a thread.
    pub(super) clock: usize,
    /// `struct snap_info`s besides the one of the executable or library that marks the point.
    pub(super) info: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct ThreadRow {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) tid: u32,
    pub(super) rip: String,
    /// The same as file or region and offset.
    pub(super) rip_in: String,
    pub(super) rsp: String,
    pub(super) rsp_in: String,
    pub(super) fs_base: String,
    pub(super) blocked: Vec<String>,
    /// XSAVE components that are live.
    pub(super) xfeatures: String,
    /// Whether the C library's copy of the TID is known, so that a start updates it.
    pub(super) tid_cached: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Descriptor {
    pub(super) fd: u32,
    pub(super) kind: &'static str,
    pub(super) flags: String,
    pub(super) close_on_exec: bool,
    pub(super) offset: u64,
    pub(super) path: Option<String>,
    /// Number of the descriptor that it belongs to or is inherited from.
    pub(super) of: Option<u32>,
    /// Bytes of content that travel in the snapshot.
    pub(super) content: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Signal {
    pub(super) number: u32,
    pub(super) name: String,
    /// `ignored` or `handler`.
    pub(super) disposition: &'static str,
    pub(super) handler: Option<String>,
    pub(super) handler_in: Option<String>,
    pub(super) flags: String,
    pub(super) blocked: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Pending {
    pub(super) name: String,
    /// Absent: the process.
    pub(super) thread: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct TimerRow {
    pub(super) name: String,
    pub(super) remaining_ns: u64,
    pub(super) interval_ns: u64,
    pub(super) signal: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Environment {
    pub(super) name: String,
    /// `set` or `removed`.
    pub(super) change: &'static str,
}

impl Report {
    pub(super) fn new(snapshot: &Snapshot, plan: &Plan<'_>, space: &Space, stores: &Stores, made: MadeOf) -> Self {
        let memory = memory(space);
        Report {
            schema: 1,
            path: snapshot.path.display().to_string(),
            digest: snapshot.digest.map(|digest| digest.to_string()),
            variants: snapshot.variants.iter().map(ToString::to_string).collect(),
            variant_sizes: variant_sizes(snapshot),
            size: snapshot.size,
            plan_size: plan.header.meta_len,
            program: program(plan),
            needs: Needs::new(plan),
            files: files(plan, &memory, stores),
            memory,
            operations: operations(plan),
            patches: patches(plan),
            threads: plan.threads.iter().enumerate().map(|(index, t)| thread(plan, space, index, t)).collect(),
            descriptors: plan.fds.iter().enumerate().map(|fd| descriptor(plan, fd)).collect(),
            signals: plan.sigactions.iter().map(|action| signal(space, action)).collect(),
            pending_signals: plan
                .pending
                .iter()
                .map(|p| Pending { name: names::signal(p.signo), thread: Some(p.thread).filter(|t| *t != u32::MAX) })
                .collect(),
            settings: plan.settings.iter().map(names::setting).collect(),
            timers: plan.timers.iter().map(timer).collect(),
            environment: plan
                .env_changes
                .iter()
                .map(|change| Environment {
                    name: text(plan, change.name),
                    change: if change.kind == ENV_SET { "set" } else { "removed" },
                })
                .collect(),
            made,
        }
    }
}

fn variant_sizes(snapshot: &Snapshot) -> Vec<Option<u64>> {
    let mut sizes = vec![Some(snapshot.size); snapshot.variants.len()];
    for (number, _, variant) in snapshot.others() {
        if let Some(size) = sizes.get_mut(number - 1) {
            *size = variant.ok().map(|variant| variant.size);
        }
    }
    sizes
}

fn program(plan: &Plan<'_>) -> Program {
    let p = &plan.header.process;
    let arguments = plan.bytes(p.args);
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(arguments);
    let lossy = |argument: &[u8]| String::from_utf8_lossy(argument).into_owned();
    Program {
        path: text(plan, p.exe),
        arguments: match arguments {
            [] => Vec::new(),
            some => some.split(|byte| *byte == 0).map(lossy).collect(),
        },
        point: names::point(p.at),
        created: time(p.created),
        created_unix: p.created,
        pid: p.pid,
        working_directory: Some(text(plan, p.cwd)).filter(|path| !path.is_empty()),
        umask: Some(p.umask).filter(|umask| *umask != u32::MAX).map(|umask| format!("{umask:04o}")),
        monotonic_ns: p.monotonic,
        boottime_ns: p.boottime,
    }
}

fn files(plan: &Plan<'_>, memory: &Memory, stores: &Stores) -> Vec<FileRow> {
    let mut mapped: HashMap<usize, u64> = HashMap::new();
    for mapping in &memory.mappings {
        if let Some(file) = mapping.file {
            *mapped.entry(file).or_default() += mapping.size;
        }
    }
    let row = |(index, file): (usize, &File)| {
        let kind = match file.kind {
            FILE_CODE => Some(Kind::Code),
            FILE_DATA => Some(Kind::Data),
            _ => None,
        };
        FileRow {
            index,
            kind: names::file(file.kind),
            digest: kind.map(|_| file.digest.to_string()),
            size: file.size,
            mapped: mapped.get(&index).copied().unwrap_or(0),
            path: Some(text(plan, file.path)).filter(|path| !path.is_empty()),
            stored: kind.and_then(|kind| stores.find(kind, file.digest)).map(|path| path.display().to_string()),
        }
    };
    plan.files.iter().enumerate().map(row).collect()
}

fn memory(space: &Space) -> Memory {
    let mut memory = Memory::default();
    for vma in &space.vmas {
        memory.total += vma.len();
        let rest = vma.len() - vma.read();
        memory.read += vma.read();
        *match vma.source {
            Source::Code => &mut memory.code,
            Source::Data => &mut memory.data,
            Source::Host => &mut memory.host,
            Source::Descriptor => &mut memory.descriptor,
            Source::Snapshot => &mut memory.snapshot,
            Source::Zeros => &mut memory.zeros,
            Source::Stack => &mut memory.stack,
        } += rest;
        memory.mappings.push(Mapping {
            start: hex(vma.start),
            end: hex(vma.end),
            size: vma.len(),
            protection: vma.protection(),
            source: vma.source.name(),
            file: vma.file,
            offset: vma.offset,
            read: vma.read(),
            protected: vma.protected.map_or(0, |(len, _)| len),
            protected_to: vma.protected.map(|(_, prot)| names::protection(prot, vma.shared)),
            name: vma.name.clone(),
            range: (vma.start, vma.end),
            kind: vma.source,
        });
    }
    memory
}

fn operations(plan: &Plan<'_>) -> Operations {
    let mut count = Operations { total: plan.ops.len(), ..Operations::default() };
    for op in plan.ops {
        *match op.kind {
            OP_MAP_FILE => &mut count.map_file,
            OP_MAP_ANON => &mut count.map_zeros,
            OP_MAP_FD => &mut count.map_descriptor,
            OP_READ => &mut count.read,
            OP_PROTECT => &mut count.protect,
            OP_ADVISE => &mut count.advise,
            _ => &mut count.lock,
        } += 1;
    }
    count
}

fn patches(plan: &Plan<'_>) -> Patches {
    let mut count = Patches { total: plan.patches.len(), ..Patches::default() };
    for patch in plan.patches {
        count.registers += usize::from(patch.place == PATCH_REGISTER);
        *match patch.kind {
            PATCH_ARGV | PATCH_ARGV_END => &mut count.argv,
            PATCH_ENVP | PATCH_ENVP_END | PATCH_ENVC | PATCH_ENVC_INT | PATCH_VECTOR => &mut count.envp,
            PATCH_ARGC | PATCH_ARGC_INT => &mut count.argc,
            PATCH_CANARY => &mut count.canary,
            PATCH_STACK => &mut count.stack,
            PATCH_TID => &mut count.tid,
            PATCH_INFO => &mut count.info,
            PATCH_CLOCK => &mut count.clock,
            _ => &mut count.tid_futex,
        } += 1;
    }
    count
}

/// A thread's name without the padding.
pub(crate) fn comm(thread: &Thread) -> String {
    let name = thread.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn thread(plan: &Plan<'_>, space: &Space, index: usize, thread: &Thread) -> ThreadRow {
    let (rip, rsp) = (thread.regs[reg::PC], thread.regs[reg::SP]);
    ThreadRow {
        index,
        name: comm(thread),
        tid: thread.tid,
        rip: hex(rip),
        rip_in: space.describe(rip),
        rsp: hex(rsp),
        rsp_in: space.describe(rsp),
        fs_base: hex(thread.regs[reg::TLS]),
        blocked: names::signals(thread.sigmask),
        xfeatures: hex(live_state(plan.bytes(thread.xstate))),
        tid_cached: thread.tid_cache != 0,
    }
}

/// As C writes it.
fn octal(flags: u32) -> String {
    if flags == 0 { "0".to_string() } else { format!("0{flags:o}") }
}

fn descriptor(plan: &Plan<'_>, (index, fd): (usize, &Fd)) -> Descriptor {
    const O_CLOEXEC: u32 = 0o2000000;
    let descriptor = fd.descriptor();
    let named = descriptor.and_then(|it| it.named()).and_then(|of| plan.fds.get(of as usize)).map(|record| record.fd);
    Descriptor {
        fd: fd.fd,
        kind: names::descriptor(fd),
        flags: octal(fd.flags & !O_CLOEXEC),
        close_on_exec: fd.flags & O_CLOEXEC != 0,
        offset: fd.offset,
        path: Some(text(plan, fd.path)).filter(|path| !path.is_empty()),
        of: match descriptor {
            Some(snapfn_format::snap::Descriptor::Inherited { stream }) => Some(stream),
            // A master names itself.
            _ => named.filter(|named| *named != fd.fd),
        },
        content: names::content(plan, index),
    }
}

fn signal(space: &Space, action: &SigAction) -> Signal {
    let handler = (action.handler > 1).then_some(action.handler);
    Signal {
        number: action.signo,
        name: names::signal(action.signo),
        disposition: if handler.is_some() { "handler" } else { "ignored" },
        handler: handler.map(hex),
        handler_in: handler.map(|handler| space.describe(handler)),
        flags: hex(action.flags),
        blocked: names::signals(action.mask),
    }
}

fn timer(timer: &Timer) -> TimerRow {
    TimerRow {
        name: names::timer(timer),
        remaining_ns: timer.remaining,
        interval_ns: timer.interval,
        signal: (timer.signo != 0).then(|| names::signal(timer.signo)),
    }
}
