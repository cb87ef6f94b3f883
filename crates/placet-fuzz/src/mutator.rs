//! Changes inputs a little, from a seed: the same seed makes the same inputs on every machine.

/// No input grows beyond this.
const BYTES_MAX: usize = 4096;
/// How many changes one input gets at most.
const CHANGES_MAX: u64 = 6;

/// Makes inputs out of others.
pub struct Mutator(u64);

impl Mutator {
    /// From this seed.
    pub fn new(seed: u64) -> Self {
        Mutator(seed)
    }

    /// SplitMix64: small, and good enough to choose with.
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound.max(1) as u64) as usize
    }

    /// A changed copy of one of these, with words put in here and there.
    pub fn input(&mut self, of: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = of.get(self.below(of.len())).cloned().unwrap_or_default();
        for _ in 0..1 + self.number() % CHANGES_MAX {
            self.change(&mut input, of, words);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, of: &[Vec<u8>], words: &[&str]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.number() % 10 {
            0 | 1 if at < input.len() => input[at] ^= 1 << self.below(8),
            2 if at < input.len() => input[at] = self.number() as u8,
            3 => input.insert(at, self.number() as u8),
            4 if at < end => drop(input.drain(at..end)),
            5 if at < end => {
                let copy = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                drop(input.splice(to..to, copy));
            }
            6 => input.truncate(at),
            7 => {
                // The beginning of this one, the end of another.
                let other = of.get(self.below(of.len())).cloned().unwrap_or_default();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            8 if at < input.len() && input[at].is_ascii_digit() => {
                let numbers = ["0", "-1", "255", "256", "65535", "4294967296", "9223372036854775808", "1e9"];
                drop(input.splice(at..=at, numbers[self.below(numbers.len())].bytes()));
            }
            _ if !words.is_empty() => {
                let word = words[self.below(words.len())].as_bytes().to_vec();
                let over = if self.number() & 1 == 0 { at } else { (at + word.len()).min(input.len()) };
                drop(input.splice(at..over, word));
            }
            _ => input.push(self.number() as u8),
        }
    }
}
