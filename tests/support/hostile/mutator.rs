//! Changes of bytes, the same every time.

/// xorshift64*: numbers that look random, from a name.
pub(crate) struct Random(u64);

/// What parsers stumble over.
const TOKENS: [&[u8]; 24] = [
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"../",
    b"/",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551616",
    b"null",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"%2e",
    b"=",
    b"A=",
    b"99999999999",
    b"\xed\xa0\x80",
];

impl Random {
    pub(crate) fn new(name: &str) -> Self {
        let seed = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    fn upto(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 56) as u8).collect()
    }

    /// One of the seeds after one to eight changes.
    pub(crate) fn changed(&mut self, seeds: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut bytes = seeds[self.upto(seeds.len())].clone();
        for _ in 0..1 << self.upto(4) {
            self.change(&mut bytes, seeds);
            bytes.truncate(longest);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.upto(bytes.len() + 1);
        let end = (at + 1 + self.upto(64)).min(bytes.len()).max(at);
        match self.upto(8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.upto(8),
            2 if at < bytes.len() => bytes[at] = (self.next() >> 56) as u8,
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => {
                let other = &seeds[self.upto(seeds.len())];
                let from = self.upto(other.len() + 1);
                let part = &other[from..(from + 1 + self.upto(256)).min(other.len()).max(from)];
                bytes.splice(at..end, part.iter().copied());
            }
            6 if self.upto(8) == 0 => bytes.truncate(at),
            _ => {
                let token = TOKENS[self.upto(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
        }
    }
}
