// SPDX-License-Identifier: Apache-2.0

//! Lossless coding stages behind one trait: canonical Huffman codes over any
//! symbol type, move-to-front, run lengths and the Burrows-Wheeler transform.
//! Pipelines of stages round-trip some inputs and must reject damaged data.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
enum CodecError {
    Truncated,
    BadCode { bit: usize },
    BadHeader(&'static str),
    BadSymbol(u32),
    InStage(String, Box<CodecError>),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::Truncated => write!(f, "input ends too early"),
            CodecError::BadCode { bit } => write!(f, "no code word at bit {}", bit),
            CodecError::BadHeader(reason) => write!(f, "bad header: {}", reason),
            CodecError::BadSymbol(value) => write!(f, "symbol {} is out of range", value),
            CodecError::InStage(stage, inner) => write!(f, "{}: {}", stage, inner),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CodecError::InStage(_, inner) => Some(inner.as_ref()),
            _ => None,
        }
    }
}

type Result<T> = std::result::Result<T, CodecError>;

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    used: usize,
}

impl BitWriter {
    fn push(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used % 8 == 0 {
                self.bytes.push(0);
            }
            let bit = (value >> shift & 1) as u8;
            self.bytes[self.used / 8] |= bit << (7 - self.used % 8);
            self.used += 1;
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, position: 0 }
    }

    fn bit(&mut self) -> Result<u32> {
        let byte = self
            .bytes
            .get(self.position / 8)
            .ok_or(CodecError::Truncated)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(u32::from(bit))
    }

    fn take(&mut self, count: u32) -> Result<u32> {
        (0..count).try_fold(0, |value, _| Ok(value << 1 | self.bit()?))
    }
}

/// A fixed-width unit that the Huffman coder assigns code words to.
trait Symbol: Copy + Ord {
    const BITS: u32;
    fn to_code(self) -> u32;
    fn from_code(code: u32) -> Result<Self>;
    fn split(bytes: &[u8]) -> Vec<Self>;
    fn join(symbols: &[Self]) -> Vec<u8>;
}

impl Symbol for u8 {
    const BITS: u32 = 8;

    fn to_code(self) -> u32 {
        u32::from(self)
    }

    fn from_code(code: u32) -> Result<u8> {
        u8::try_from(code).map_err(|_| CodecError::BadSymbol(code))
    }

    fn split(bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    fn join(symbols: &[u8]) -> Vec<u8> {
        symbols.to_vec()
    }
}

/// Half a byte; a smaller alphabet suits short inputs with a short header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Nibble(u8);

impl Symbol for Nibble {
    const BITS: u32 = 4;

    fn to_code(self) -> u32 {
        u32::from(self.0)
    }

    fn from_code(code: u32) -> Result<Nibble> {
        match u8::try_from(code) {
            Ok(value) if value < 16 => Ok(Nibble(value)),
            _ => Err(CodecError::BadSymbol(code)),
        }
    }

    fn split(bytes: &[u8]) -> Vec<Nibble> {
        bytes
            .iter()
            .flat_map(|b| [Nibble(b >> 4), Nibble(b & 15)])
            .collect()
    }

    fn join(symbols: &[Nibble]) -> Vec<u8> {
        symbols
            .chunks_exact(2)
            .map(|pair| pair[0].0 << 4 | pair[1].0)
            .collect()
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Tree<S> {
    Leaf(S),
    Branch(Box<Tree<S>>, Box<Tree<S>>),
}

impl<S: Symbol> Tree<S> {
    fn build(frequency: &BTreeMap<S, u64>) -> Option<Tree<S>> {
        // The serial number breaks ties, so that equal inputs give equal trees.
        let mut heap: BinaryHeap<Reverse<(u64, usize, Tree<S>)>> = frequency
            .iter()
            .enumerate()
            .map(|(serial, (&symbol, &weight))| Reverse((weight, serial, Tree::Leaf(symbol))))
            .collect();
        let mut serial = heap.len();
        while let Some(Reverse((weight, _, first))) = heap.pop() {
            match heap.pop() {
                None => return Some(first),
                Some(Reverse((other, _, second))) => {
                    let branch = Tree::Branch(Box::new(first), Box::new(second));
                    heap.push(Reverse((weight + other, serial, branch)));
                    serial += 1;
                }
            }
        }
        None
    }

    fn collect_depths(&self, depth: u32, depths: &mut Vec<(u32, S)>) {
        match self {
            // A lone symbol still needs one bit to be counted.
            Tree::Leaf(symbol) => depths.push((depth.max(1), *symbol)),
            Tree::Branch(left, right) => {
                left.collect_depths(depth + 1, depths);
                right.collect_depths(depth + 1, depths);
            }
        }
    }
}

/// Canonical code words: sorted by length, then by symbol.
struct CodeBook<S> {
    words: Vec<(u32, u32, S)>,
}

impl<S: Symbol> CodeBook<S> {
    const MAX_LENGTH: u32 = 31;

    fn from_lengths(mut lengths: Vec<(u32, S)>) -> Result<Self> {
        lengths.sort_unstable();
        let mut next: u64 = 0;
        let mut previous = 0;
        let mut words = Vec::with_capacity(lengths.len());
        for (length, symbol) in lengths {
            if length == 0 || length > Self::MAX_LENGTH {
                return Err(CodecError::BadHeader("code length"));
            }
            next <<= length - previous;
            if next >> length != 0 {
                return Err(CodecError::BadHeader("too many code words"));
            }
            words.push((length, next as u32, symbol));
            next += 1;
            previous = length;
        }
        Ok(CodeBook { words })
    }

    fn encoder(&self) -> BTreeMap<S, (u32, u32)> {
        self.words
            .iter()
            .map(|&(length, word, symbol)| (symbol, (word, length)))
            .collect()
    }

    fn decode_one(&self, reader: &mut BitReader) -> Result<S> {
        let start = reader.position;
        let (mut word, mut length) = (0, 0);
        while length < Self::MAX_LENGTH {
            word = word << 1 | reader.bit()?;
            length += 1;
            let found = self
                .words
                .binary_search_by(|&(l, w, _)| (l, w).cmp(&(length, word)));
            if let Ok(index) = found {
                return Ok(self.words[index].2);
            }
        }
        Err(CodecError::BadCode { bit: start })
    }
}

trait Codec {
    fn name(&self) -> String;
    fn encode(&self, input: &[u8]) -> Vec<u8>;
    fn decode(&self, input: &[u8]) -> Result<Vec<u8>>;
}

struct Huffman<S>(std::marker::PhantomData<S>);

impl<S: Symbol> Huffman<S> {
    fn new() -> Self {
        Huffman(std::marker::PhantomData)
    }
}

impl<S: Symbol> Codec for Huffman<S> {
    fn name(&self) -> String {
        format!("huffman{}", S::BITS)
    }

    fn encode(&self, input: &[u8]) -> Vec<u8> {
        let symbols = S::split(input);
        let mut frequency = BTreeMap::new();
        for &symbol in &symbols {
            *frequency.entry(symbol).or_insert(0u64) += 1;
        }
        let mut lengths = Vec::new();
        if let Some(tree) = Tree::build(&frequency) {
            tree.collect_depths(0, &mut lengths);
        }
        let book = CodeBook::from_lengths(lengths).expect("a tree yields a prefix code");

        let mut writer = BitWriter::default();
        writer.push(symbols.len() as u32, 32);
        writer.push(book.words.len() as u32, S::BITS + 1);
        for &(length, _, symbol) in &book.words {
            writer.push(symbol.to_code(), S::BITS);
            writer.push(length, 5);
        }
        let encoder = book.encoder();
        for symbol in &symbols {
            let (word, length) = encoder[symbol];
            writer.push(word, length);
        }
        writer.bytes
    }

    fn decode(&self, input: &[u8]) -> Result<Vec<u8>> {
        let mut reader = BitReader::new(input);
        let count = reader.take(32)? as usize;
        if count > input.len() * 8 {
            return Err(CodecError::BadHeader("more symbols than bits"));
        }
        let lengths = (0..reader.take(S::BITS + 1)?)
            .map(|_| {
                let symbol = S::from_code(reader.take(S::BITS)?)?;
                Ok((reader.take(5)?, symbol))
            })
            .collect::<Result<Vec<_>>>()?;
        let book = CodeBook::from_lengths(lengths)?;
        let symbols = (0..count)
            .map(|_| book.decode_one(&mut reader))
            .collect::<Result<Vec<S>>>()?;
        Ok(S::join(&symbols))
    }
}

/// Moves each byte to the front of a list and sends its old place there.
struct MoveToFront;

impl Codec for MoveToFront {
    fn name(&self) -> String {
        "mtf".into()
    }

    fn encode(&self, input: &[u8]) -> Vec<u8> {
        let mut recent: Vec<u8> = (0..=255).collect();
        let place_of = |byte| {
            let place = recent.iter().position(|&r| r == byte).unwrap_or(0);
            recent[..=place].rotate_right(1);
            place as u8
        };
        input.iter().copied().map(place_of).collect()
    }

    fn decode(&self, input: &[u8]) -> Result<Vec<u8>> {
        let mut recent: Vec<u8> = (0..=255).collect();
        let byte_at = |&place: &u8| {
            recent[..=usize::from(place)].rotate_right(1);
            recent[0]
        };
        Ok(input.iter().map(byte_at).collect())
    }
}

/// Two equal bytes are followed by a count of how many more there are.
struct RunLength;

impl Codec for RunLength {
    fn name(&self) -> String {
        "rle".into()
    }

    fn encode(&self, input: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let mut rest = input;
        while let Some(&byte) = rest.first() {
            let run = rest.iter().take(257).take_while(|&&b| b == byte).count();
            output.push(byte);
            if run >= 2 {
                output.extend([byte, (run - 2) as u8]);
            }
            rest = &rest[run..];
        }
        output
    }

    fn decode(&self, input: &[u8]) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        let mut bytes = input.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            output.push(byte);
            if bytes.next_if_eq(&byte).is_some() {
                let more = bytes.next().ok_or(CodecError::Truncated)?;
                output.extend(std::iter::repeat(byte).take(usize::from(more) + 1));
            }
        }
        Ok(output)
    }
}

/// Sorts all rotations of the input and sends their last bytes.
struct BurrowsWheeler;

impl Codec for BurrowsWheeler {
    fn name(&self) -> String {
        "bwt".into()
    }

    fn encode(&self, input: &[u8]) -> Vec<u8> {
        let n = input.len();
        let mut rotations: Vec<usize> = (0..n).collect();
        rotations.sort_by(|&a, &b| {
            let from = |start: usize| input[start..].iter().chain(&input[..start]);
            from(a).cmp(from(b))
        });
        let row = rotations.iter().position(|&start| start == 0).unwrap_or(0);
        let mut output = (row as u32).to_be_bytes().to_vec();
        output.extend(rotations.iter().map(|&start| input[(start + n - 1) % n]));
        output
    }

    fn decode(&self, input: &[u8]) -> Result<Vec<u8>> {
        if input.len() < 4 {
            return Err(CodecError::Truncated);
        }
        let (header, last) = input.split_at(4);
        let mut row = header.iter().fold(0, |row, &b| row << 8 | usize::from(b));
        if row >= last.len().max(1) {
            return Err(CodecError::BadHeader("row"));
        }
        // A stable sort of the last column gives the first column, and with it
        // the step from each rotation to the one that starts a byte later.
        let mut next: Vec<usize> = (0..last.len()).collect();
        next.sort_by_key(|&i| last[i]);
        Ok((0..last.len())
            .map(|_| {
                row = next[row];
                last[row]
            })
            .collect())
    }
}

struct Pipeline(Vec<Box<dyn Codec>>);

impl Codec for Pipeline {
    fn name(&self) -> String {
        self.0
            .iter()
            .map(|stage| stage.name())
            .collect::<Vec<_>>()
            .join("+")
    }

    fn encode(&self, input: &[u8]) -> Vec<u8> {
        self.0
            .iter()
            .fold(input.to_vec(), |data, stage| stage.encode(&data))
    }

    fn decode(&self, input: &[u8]) -> Result<Vec<u8>> {
        self.0.iter().rev().try_fold(input.to_vec(), |data, stage| {
            stage
                .decode(&data)
                .map_err(|e| CodecError::InStage(stage.name(), Box::new(e)))
        })
    }
}

fn checksum(data: &[u8]) -> u32 {
    let (low, high) = data.iter().fold((1u32, 0u32), |(low, high), &byte| {
        let low = (low + u32::from(byte)) % 65521;
        (low, (high + low) % 65521)
    });
    high << 16 | low
}

fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let mut state = 12345u32;
    let mut random = move || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        state >> 16
    };
    let phrases = ["she sells ", "sea shells ", "by the ", "sea shore ", "and "];
    let text = (0..100)
        .flat_map(|_| phrases[random() as usize % phrases.len()].bytes())
        .collect();
    let noise = (0..300).map(|_| random() as u8).collect();
    // Each byte value is half as likely as the one before.
    let skewed = (0..800)
        .map(|_| (random() | 0x8000).trailing_zeros() as u8)
        .collect();
    vec![
        ("empty", Vec::new()),
        ("single", b"a".to_vec()),
        ("run", vec![b'r'; 300]),
        ("text", text),
        ("noise", noise),
        ("skewed", skewed),
    ]
}

fn pipelines() -> Vec<Pipeline> {
    vec![
        Pipeline(vec![Box::new(Huffman::<u8>::new())]),
        Pipeline(vec![
            Box::new(RunLength),
            Box::new(Huffman::<Nibble>::new()),
        ]),
        Pipeline(vec![
            Box::new(BurrowsWheeler),
            Box::new(MoveToFront),
            Box::new(RunLength),
            Box::new(Huffman::<u8>::new()),
        ]),
    ]
}

/// Decodes many prefixes and single-bit errors of an encoding. There is no
/// checksum in the format, so some errors go unnoticed, but none may panic.
fn damage(pipeline: &Pipeline, packed: &[u8]) -> BTreeMap<String, usize> {
    let prefixes = (0..packed.len())
        .step_by(17)
        .map(|end| packed[..end].to_vec());
    let flips = (0..packed.len() * 8).step_by(71).map(|bit| {
        let mut flipped = packed.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    let mut outcomes = BTreeMap::new();
    for damaged in prefixes.chain(flips) {
        let outcome = match pipeline.decode(&damaged) {
            Ok(_) => "unnoticed".to_string(),
            Err(error) => {
                let text = error.to_string();
                text.split(" at bit").next().unwrap_or_default().to_string()
            }
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    outcomes
}

fn main() -> Result<()> {
    for pipeline in pipelines() {
        println!("{}", pipeline.name());
        for (name, data) in inputs() {
            let packed = pipeline.encode(&data);
            let unpacked = pipeline.decode(&packed)?;
            assert_eq!(unpacked, data, "{} of {}", pipeline.name(), name);
            println!(
                "  {:<7}{:>5} -> {:>4} bytes, checksum {:08x}",
                name,
                data.len(),
                packed.len(),
                checksum(&packed)
            );
            if name == "skewed" {
                for (outcome, count) in damage(&pipeline, &packed) {
                    println!("    {} times {}", count, outcome);
                }
            }
        }
    }

    let twice = CodeBook::from_lengths(vec![(1, 1u8), (1, 2), (1, 3)]);
    println!(
        "{}",
        twice.err().map_or("accepted".into(), |e| e.to_string())
    );
    Ok(())
}
