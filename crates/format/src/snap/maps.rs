//! Finds the map operation that holds an address.

use super::Plan;
use super::space::*;

/// The most starting points. A search then passes over at most a 256th of the operations. Each thread and each change
/// of the environment needs a search, and a hostile file has as many of all of these as fit.
const STARTS: usize = 256;

/// The map operations of a plan, which ascend; between them are those that change a part of the last.
pub(super) struct Maps<'p, 'a> {
    plan: &'p Plan<'a>,
    /// Indices of map operations at even distances, ascending.
    starts: [u32; STARTS],
    len: usize,
    stride: usize,
}

impl<'p, 'a> Maps<'p, 'a> {
    pub(super) fn new(plan: &'p Plan<'a>) -> Self {
        Maps { plan, starts: [0; STARTS], len: 0, stride: plan.ops.len().div_ceil(STARTS).max(1) }
    }

    /// Adds the next map operation.
    pub(super) fn push(&mut self, index: usize) {
        if index >= self.len * self.stride
            && let Some(start) = self.starts.get_mut(self.len)
        {
            *start = index as u32;
            self.len += 1;
        }
    }

    /// Index at which a search for `addr` begins: fewer than `stride` operations before the map operation that holds
    /// it.
    fn start(&self, addr: u64) -> usize {
        let ops = self.plan.ops;
        let starts = self.starts.get(..self.len).unwrap_or_default();
        let behind = starts.partition_point(|start| ops.get(*start as usize).is_some_and(|op| op.addr <= addr));
        behind.checked_sub(1).and_then(|index| starts.get(index)).map_or(0, |start| *start as usize)
    }

    /// The map operation that holds all of `[addr, addr + len)`.
    pub(super) fn holds(&self, addr: u64, len: u64) -> Option<&'a Op> {
        let behind = self.plan.ops.get(self.start(addr)..).unwrap_or_default();
        let mut maps = behind.iter().filter(|op| op.is_map());
        maps.find(|op| op.addr + op.len > addr).filter(|op| within(addr, len, op))
    }

    /// Whether the loader can write to the range: it is private memory with bytes behind it, in one mapping or in
    /// several without a gap.
    pub(super) fn writable(&self, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len.max(1)) else { return false };
        let mut at = addr;
        while at < end {
            match self.holds(at, 1).filter(|op| self.plan.is_writable(op)) {
                Some(op) => at = op.addr + op.len,
                None => return false,
            }
        }
        true
    }
}

pub(super) fn within(addr: u64, len: u64, op: &Op) -> bool {
    addr >= op.addr && addr.checked_add(len).is_some_and(|end| end <= op.addr + op.len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PAGE;
    use crate::snap::SnapHeader;
    use proptest::prelude::*;

    /// Calls `then` with a plan that has these operations, and their index.
    fn with_maps(ops: &[Op], then: impl FnOnce(&Plan<'_>, &Maps<'_, '_>)) {
        let header = SnapHeader::default();
        let plan = Plan {
            header: &header,
            files: &[],
            ops,
            patches: &[],
            threads: &[],
            fds: &[],
            sigactions: &[],
            env_changes: &[],
            settings: &[],
            pending: &[],
            timers: &[],
            fd_steps: &[],
            needs: None,
            bytes: &[],
        };
        let mut maps = Maps::new(&plan);
        (0..ops.len()).filter(|index| ops[*index].is_map()).for_each(|index| maps.push(index));
        then(&plan, &maps);
    }

    /// Mappings, each with a number of pages and of free pages before it, writable or not, and a number of operations
    /// on its parts.
    fn ops(groups: &[(u64, u64, bool, usize)]) -> Vec<Op> {
        let mut at = PAGE;
        let mut ops = Vec::new();
        for &(gap, pages, writable, parts) in groups {
            let prot = if writable { PROT_READ | PROT_WRITE } else { PROT_READ };
            let map = Op { kind: OP_MAP_ANON, prot, addr: at + gap * PAGE, len: pages * PAGE, ..Op::default() };
            ops.push(map);
            let part =
                |page: usize| Op { kind: OP_ADVISE, addr: map.addr + page as u64 % pages * PAGE, len: PAGE, ..map };
            ops.extend((0..parts).rev().map(part));
            at = map.addr + map.len;
        }
        ops
    }

    #[test]
    fn the_first_and_the_last_are_found() {
        with_maps(&[], |_, maps| assert!(maps.holds(PAGE, 1).is_none() && !maps.writable(PAGE, 1)));
        for count in [1, STARTS - 1, STARTS, STARTS + 1, 3 * STARTS + 1] {
            let ops = ops(&vec![(1, 1, true, 0); count]);
            with_maps(&ops, |_, maps| {
                for op in [ops[0], ops[count / 2], ops[count - 1]] {
                    assert_eq!(maps.holds(op.addr, op.len), Some(&op));
                    assert!(maps.writable(op.addr, op.len));
                    assert!(!maps.writable(op.addr, op.len + 1) && maps.holds(op.addr - 1, 1).is_none());
                }
            });
        }
    }

    /// The result does not depend on the number and the place of operations on parts of mappings.
    #[test]
    fn searches_are_short() {
        let groups: Vec<_> = (0..3000).map(|i| (i % 2, 1, true, if i % 97 == 0 { 500 } else { 0 })).collect();
        for groups in [&groups[..], &groups[..1], &[(0, 1, true, 9000), (0, 1, true, 0)]] {
            let ops = ops(groups);
            with_maps(&ops, |_, maps| {
                for (index, op) in ops.iter().enumerate().filter(|(_, op)| op.is_map()) {
                    let (start, last) = (maps.start(op.addr), maps.start(op.addr + op.len - 1));
                    assert!(start == last && start <= index && index - start < ops.len().div_ceil(STARTS));
                }
            });
        }
    }

    proptest! {
        /// The result is that of a search through all operations.
        #[test]
        fn every_address_is_answered_as_by_a_full_search(
            groups in prop::collection::vec((0u64..2, 1u64..4, any::<bool>(), 0usize..4), 0..600),
            asked in prop::collection::vec((0u64..2000, 0u64..PAGE, 0u64..5 * PAGE), 1..50),
        ) {
            let ops = ops(&groups);
            with_maps(&ops, |plan, maps| {
                for (page, offset, len) in asked {
                    let addr = page * PAGE + offset;
                    let map = ops.iter().find(|op| op.is_map() && within(addr, len, op));
                    assert_eq!(maps.holds(addr, len), map);
                    let holding = |at: u64| ops.iter().find(|op| op.is_map() && within(at, 1, op));
                    let last = addr + len.max(1) - 1;
                    let mut pages = (addr / PAGE..=last / PAGE).map(|page| holding((page * PAGE).max(addr)));
                    let all = pages.all(|map| map.is_some_and(|map| plan.is_writable(map)));
                    assert_eq!(maps.writable(addr, len), all, "{addr:#x} {len}");
                }
            });
        }
    }
}
