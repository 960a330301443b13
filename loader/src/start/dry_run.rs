//! `snaprun --dry-run`: the plan in words.

use crate::runtime::print::{Out, Text};
use core::fmt::{self, Write};
use snapfn_format::cpu::{self, FeatureSet};
use snapfn_format::requirements::BEHAVIOURS;
use snapfn_format::snap::*;

fn prot(bits: u16) -> &'static str {
    match bits & 7 {
        0 => "---",
        1 => "r--",
        2 => "-w-",
        3 => "rw-",
        4 => "--x",
        5 => "r-x",
        6 => "-wx",
        _ => "rwx",
    }
}

fn needs_of(plan: &Plan<'_>, needs: &HostNeeds, out: &mut Out) -> fmt::Result {
    match needs.level {
        0 => writeln!(out, "made for   {}", Text(plan.bytes(needs.cpu_name)))?,
        level => writeln!(out, "made for   x86-64-v{level}")?,
    }
    write!(out, "needs      Linux {}.{}", needs.kernel >> 16, needs.kernel & 0xffff)?;
    for number in FeatureSet(needs.cpu).numbers() {
        match cpu::name(number) {
            Some(name) => write!(out, " {name}")?,
            None => write!(out, " feature-{number}")?,
        }
    }
    for behaviour in BEHAVIOURS.iter().filter(|behaviour| needs.behaviours & behaviour.bit != 0) {
        write!(out, ", {}", behaviour.name)?;
    }
    writeln!(out)
}

/// Prints `plan` to `out`.
pub fn print(plan: &Plan<'_>, out: &mut Out) -> fmt::Result {
    let p = &plan.header.process;
    writeln!(out, "program    {}", Text(plan.bytes(p.exe)))?;
    if let Some(needs) = plan.needs {
        needs_of(plan, needs, out)?;
    }
    writeln!(out, "files")?;
    for (index, file) in plan.files.iter().enumerate() {
        write!(out, "  {index:3} ")?;
        match file.kind {
            FILE_SELF => writeln!(out, "snapshot   {} bytes", file.size)?,
            FILE_HOST => writeln!(out, "host       {}", Text(plan.bytes(file.path)))?,
            kind => {
                let name = if kind == FILE_CODE { "code" } else { "data" };
                writeln!(out, "{name}       {} {}", file.digest, Text(plan.bytes(file.path)))?;
            }
        }
    }
    writeln!(out, "operations")?;
    for op in plan.ops {
        let (end, pages) = (op.addr + op.len, op.len / snapfn_format::PAGE);
        write!(out, "  {:012x}-{end:012x} {} {pages:6} pages  ", op.addr, prot(op.prot))?;
        match op.kind {
            OP_MAP_FILE => writeln!(out, "map file {} at {:#x}", op.file, op.offset)?,
            OP_MAP_ANON if op.flags & OP_GROWSDOWN != 0 => writeln!(out, "map stack")?,
            OP_MAP_ANON => writeln!(out, "map zeroes")?,
            OP_READ => writeln!(out, "read file {} at {:#x}", op.file, op.offset)?,
            OP_PROTECT => writeln!(out, "protect")?,
            OP_ADVISE => writeln!(out, "advise {}", op.offset)?,
            OP_LOCK => writeln!(out, "lock")?,
            _ => writeln!(out, "map descriptor {} at {:#x}", op.file, op.offset)?,
        }
    }
    writeln!(out, "patches    {} words", plan.patches.len())?;
    writeln!(out, "heap       {:012x}-{:012x}", p.start_brk, p.brk)?;
    for thread in plan.threads {
        let name = thread.comm.split(|b| *b == 0).next().unwrap_or_default();
        writeln!(
            out,
            "thread     {} rip {:012x} rsp {:012x} mask {:#x}",
            Text(name),
            thread.regs[reg::PC],
            thread.regs[reg::SP],
            thread.sigmask
        )?;
    }
    for fd in plan.fds {
        writeln!(out, "descriptor {} kind {} flags {:#o} {}", fd.fd, fd.kind, fd.flags, Text(plan.bytes(fd.path)))?;
    }
    for action in plan.sigactions {
        writeln!(out, "signal     {} handler {:#x}", action.signo, action.handler)?;
    }
    Ok(())
}
