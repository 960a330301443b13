//! The 64-bit checksum of headers and plans.
//!
//! Each step is a bijection of the running state for a given word, and of the word for a given state. So a change
//! confined to one 8-byte word (any bit flip) always changes the result. Other damage escapes with probability 2⁻⁶⁴.
//! The checksum does not protect against a forger; SHA-256 digests name the contents.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A running checksum over consecutive byte slices. Slices other than the last must have a length that
/// is a multiple of 8.
#[derive(Clone, Copy, Debug)]
pub struct Checksum {
    state: u64,
    length: u64,
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl Checksum {
    /// The state before any byte.
    pub const fn new() -> Self {
        Checksum { state: 0x534e_4150_464e_2131, length: 0 }
    }

    fn word(&mut self, word: u64) {
        self.state = (self.state ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0u8; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.word(u64::from_le_bytes(last));
        }
        self.length = self.length.wrapping_add(bytes.len() as u64);
    }

    /// The checksum of everything added.
    pub fn finish(mut self) -> u64 {
        self.word(self.length);
        self.state ^= self.state >> 32;
        self.state.wrapping_mul(MULTIPLIER)
    }
}

/// The checksum of one slice.
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = Checksum::new();
    sum.update(bytes);
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_bit_flip_is_seen() {
        let data: Vec<u8> = (0..203u32).map(|i| (i * 31) as u8).collect();
        let good = checksum(&data);
        // Miri takes a thousand times as long.
        for bit in (0..data.len() * 8).step_by(if cfg!(miri) { 131 } else { 1 }) {
            let mut bad = data.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(&bad), good, "bit {bit}");
        }
    }

    #[test]
    fn length_counts() {
        assert_ne!(checksum(&[0; 8]), checksum(&[0; 16]));
        assert_ne!(checksum(&[0; 7]), checksum(&[0; 8]));
    }

    #[test]
    fn pieces_equal_the_whole() {
        let data = [7u8; 40];
        let mut sum = Checksum::new();
        sum.update(&data[..16]);
        sum.update(&data[16..]);
        assert_eq!(sum.finish(), checksum(&data));
    }
}
