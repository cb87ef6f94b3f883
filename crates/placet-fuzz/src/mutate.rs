//! How an input becomes another one. Everything follows from the seed.

/// A sequence of numbers from a seed: xorshift64*, which is plenty for choosing bytes.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below this; zero if there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

/// Bytes on which readers stumble.
const EDGES: [u8; 16] = [0, 1, 9, 10, 13, b' ', b'"', b'\\', b'%', b'/', b'-', b'9', 0x7f, 0x80, 0xc0, 0xff];
/// Characters that are more than one byte, or hide.
const CHARACTERS: [&str; 8] =
    ["é", "日", "\u{202e}", "\u{200b}", "\u{feff}", "\u{1f600}", "\u{0}", "\u{10ffff}"];

/// An input made of one of the pool, changed in one to six places.
pub(crate) fn mutated(pool: &[Vec<u8>], words: &[&str], chance: &mut Chance, bytes_max: usize) -> Vec<u8> {
    let mut input = chance.pick(pool).cloned().unwrap_or_default();
    for _ in 0..=chance.below(6) {
        change(&mut input, pool, words, chance);
        input.truncate(bytes_max);
    }
    input
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[&str], chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    match chance.below(11) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = EDGES[chance.below(EDGES.len())];
            }
        }
        2 => insert(input, at, &[EDGES[chance.below(EDGES.len())]]),
        3 => insert(input, at, CHARACTERS[chance.below(CHARACTERS.len())].as_bytes()),
        4 | 5 => {
            if let Some(word) = chance.pick(words) {
                insert(input, at, word.as_bytes());
            }
        }
        6 => {
            let end = (at + 1 + chance.below(16)).min(input.len());
            input.drain(at.min(end)..end);
        }
        7 => {
            let end = (at + 1 + chance.below(64)).min(input.len());
            let again = input.get(at..end).unwrap_or_default().to_vec();
            // Often, at times: depth and length are where bounds are.
            let times = if chance.below(16) == 0 { 1 + chance.below(200) } else { 1 };
            insert(input, at, &again.repeat(times));
        }
        8 => input.truncate(at),
        9 => {
            if let Some(other) = chance.pick(pool) {
                let from = chance.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
        _ => {
            // Another digit where there was one.
            let digits: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
            if let Some(at) = chance.pick(&digits) {
                input[*at] = b"0123456789"[chance.below(10)];
            }
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let tail = input.split_off(at.min(input.len()));
    input.extend_from_slice(bytes);
    input.extend_from_slice(&tail);
}
