//! Binds the executable's functions before its first instruction, not at their first call.
//!
//! Lazy binding postpones the search for a function to its first call, which is after the snapshot point. Every
//! instance would search again, for the price of a dozen page faults in symbol tables that no other code reads. So this
//! module marks the executable's dynamic section as linking with `-z now` does, before ld.so reads it. It does not mark
//! libraries: a library may rely on functions that do not exist yet. (`LD_BIND_NOW` binds them all.)

use super::TraceError;
use super::boot::Booted;
use super::memory::Memory;
use super::ptrace::Tid;
use goblin::elf::Elf;
use goblin::elf::dynamic::{DF_1_NOW, DF_BIND_NOW, DT_BIND_NOW, DT_FLAGS, DT_FLAGS_1, DT_NULL, DT_PLTRELSZ};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP};

/// Tag and value of an entry of a dynamic section.
type Entry = [u64; 2];

/// The entry to write, and its index, so that ld.so binds everything at once. `None` if nothing is bound lazily, or if
/// there is no room for an entry.
fn edit(section: &[Entry]) -> Option<(usize, Entry)> {
    let end = section.iter().position(|entry| entry[0] == DT_NULL)?;
    let find = |tag| section[..end].iter().position(|entry| entry[0] == tag);
    find(DT_PLTRELSZ)?;
    if find(DT_BIND_NOW).is_some() {
        return None;
    }
    for (tag, flag) in [(DT_FLAGS_1, DF_1_NOW), (DT_FLAGS, DF_BIND_NOW)] {
        if let Some(index) = find(tag) {
            return Some((index, [tag, section[index][1] | flag]));
        }
    }
    // Linkers leave spare entries at the end. One must stay as the end of the section.
    section.get(end + 1).filter(|next| next[0] == DT_NULL).map(|_| (end, [DT_BIND_NOW, 0]))
}

/// Makes ld.so bind all functions that the executable of `booted` calls. The program has not run yet.
pub(crate) fn executable(pid: Tid, booted: &Booted) -> Result<(), TraceError> {
    let system = TraceError::system;
    let bytes = super::symbols::read_elf(&booted.exe).map_err(system("reading the program"))?;
    let elf = Elf::parse(&bytes).map_err(|error| TraceError::Split(format!("{}: {error}", booted.exe.display())))?;
    let header = |kind| elf.program_headers.iter().find(|header| header.p_type == kind);
    let (Some(_), Some(dynamic)) = (header(PT_INTERP), header(PT_DYNAMIC)) else { return Ok(()) };
    let addr = booted.request.bias.wrapping_add(dynamic.p_vaddr);
    let memory = Memory::open(pid).map_err(system("/proc/PID/mem"))?;
    let section = memory.read_vec(addr, dynamic.p_memsz & !15).map_err(system("the dynamic section"))?;
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let section: Vec<Entry> =
        section.as_chunks::<16>().0.iter().map(|entry| [word(&entry[..8]), word(&entry[8..])]).collect();
    if let Some((index, [tag, value])) = edit(&section) {
        let bytes = [tag.to_le_bytes(), value.to_le_bytes()].concat();
        memory.write(addr + 16 * index as u64, &bytes).map_err(system("the dynamic section"))?;
    }
    Ok(())
}

/// What ld.so says of a function that no library defines which is loaded at the start: a program that binds lazily may
/// get it from a plugin.
pub(crate) fn missing_function(error: &TraceError) -> Option<&str> {
    const STATUS: i32 = 127;
    /// What glibc and musl write.
    const MESSAGES: [[&str; 2]; 2] =
        [["symbol lookup error: ", "undefined symbol"], ["Error relocating ", "symbol not found"]];
    let TraceError::Exited { status: STATUS, output } = error else { return None };
    let says = |line: &&str| MESSAGES.iter().any(|[first, second]| line.contains(first) && line.contains(second));
    output.lines().find(says).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLT: Entry = [DT_PLTRELSZ, 24];
    const END: Entry = [DT_NULL, 0];

    #[test]
    fn flags_are_added_to() {
        assert_eq!(edit(&[PLT, [DT_FLAGS, 16], [DT_FLAGS_1, 0x0800_0000], END]), Some((2, [DT_FLAGS_1, 0x0800_0001])));
        assert_eq!(edit(&[[DT_FLAGS, 16], PLT, END]), Some((0, [DT_FLAGS, 24])));
    }

    #[test]
    fn a_spare_entry_is_used_but_the_last() {
        assert_eq!(edit(&[PLT, END, END]), Some((1, [DT_BIND_NOW, 0])));
        assert_eq!(edit(&[PLT, END]), None);
        assert_eq!(edit(&[PLT]), None);
    }

    #[test]
    fn a_function_that_only_a_plugin_has() {
        let exited = |status, output: &str| TraceError::Exited { status, output: output.to_owned() };
        let line = "./app: symbol lookup error: ./app: undefined symbol: from_plugin";
        assert_eq!(missing_function(&exited(127, &format!("; its last output:\n    {line}"))), Some(line));
        assert_eq!(missing_function(&exited(1, line)), None);
        assert_eq!(missing_function(&exited(127, "sh: app: not found")), None);
    }

    #[test]
    fn nothing_is_done_where_nothing_is_lazy() {
        assert_eq!(edit(&[[DT_FLAGS_1, 0x0800_0000], END, END]), None);
        assert_eq!(edit(&[PLT, [DT_BIND_NOW, 0], END, END]), None);
    }
}
