//! `block` finds what gives 64 bytes of JSON their structure at once, one bit per byte.
//!
//! Only this file names the crate `wide`.

use wide::u8x16;

/// Block size, in bytes.
pub(super) const SIZE: usize = 64;

/// What a block contains; the lowest bit is the first byte.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Block {
    /// Quotes that begin or end a string.
    pub(super) quotes: u64,
    /// The inside of strings, with their opening quotes.
    pub(super) strings: u64,
    /// `{` and `[`, also in strings.
    pub(super) opening: u64,
    /// `}` and `]`, also in strings.
    pub(super) closing: u64,
    /// Commas, also in strings.
    pub(super) commas: u64,
    /// Colons, also in strings.
    pub(super) colons: u64,
    /// Backslashes.
    pub(super) backslashes: u64,
    /// The bytes that a backslash escapes.
    pub(super) escaped: u64,
    /// Bytes below a blank, which no string may contain; also outside of strings.
    pub(super) controls: u64,
}

/// State that carries over from one block to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Carry {
    /// Whether a string is open.
    pub(super) in_string: bool,
    /// Whether the last byte was a backslash that escapes the next one.
    pub(super) escaped: bool,
}

impl Carry {
    /// Scans the first [`SIZE`] bytes, or all if there are fewer.
    #[inline]
    pub(super) fn block(&mut self, bytes: &[u8]) -> Block {
        match bytes.first_chunk::<SIZE>() {
            Some(block) => self.look(block, SIZE),
            None => {
                let mut block = [b' '; SIZE];
                block[..bytes.len()].copy_from_slice(bytes);
                self.look(&block, bytes.len())
            }
        }
    }

    /// Scans `length` bytes; the rest are blanks.
    #[inline]
    fn look(&mut self, bytes: &[u8; SIZE], length: usize) -> Block {
        let mut block = Block::default();
        for at in 0..SIZE / 16 {
            let part = bytes[at * 16..].first_chunk().copied();
            let part = u8x16::new(part.unwrap_or_default());
            let bits = |found: u8x16| u64::from(found.to_bitmask()) << (at * 16);
            let is = |byte: u8| part.simd_eq(u8x16::splat(byte));
            // brackets and braces differ in one bit
            let folded = part | u8x16::splat(0x20);
            let is_folded = |byte: u8| folded.simd_eq(u8x16::splat(byte));
            block.quotes |= bits(is(b'"'));
            block.backslashes |= bits(is(b'\\'));
            block.opening |= bits(is_folded(b'{'));
            block.closing |= bits(is_folded(b'}'));
            block.commas |= bits(is(b','));
            block.colons |= bits(is(b':'));
            block.controls |= bits(part.min(u8x16::splat(b' ' - 1)).simd_eq(part));
        }
        block.escaped = self.escaped(block.backslashes, length);
        block.quotes &= !block.escaped;
        block.strings = within(block.quotes) ^ if self.in_string { u64::MAX } else { 0 };
        self.in_string = block.strings >> (SIZE - 1) == 1;
        block
    }

    /// The bytes that a backslash escapes. Outside strings JSON has no backslashes.
    #[inline]
    fn escaped(&mut self, mut backslashes: u64, length: usize) -> u64 {
        let mut escaped = u64::from(self.escaped && length > 0);
        self.escaped &= length == 0;
        backslashes &= !escaped;
        while backslashes != 0 {
            let next = backslashes.trailing_zeros() as usize + 1;
            self.escaped |= next == length;
            let bit = 1_u64.checked_shl(next as u32).unwrap_or(0);
            escaped |= bit;
            backslashes &= backslashes - 1;
            backslashes &= !bit;
        }
        escaped
    }
}

/// Fills from each odd bit up to the next even one: a prefix XOR of all bits.
#[inline]
fn within(mut quotes: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        quotes ^= quotes << shift;
    }
    quotes
}
