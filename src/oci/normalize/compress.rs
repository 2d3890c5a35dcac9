//! Compression whose bytes depend on the content alone: not on the machine, the day, or how many cores helped.
//!
//! The stream is cut into blocks of a fixed size which are compressed independently, so any number of threads gives
//! the same bytes. gzip: one member, as every reader understands it; each block starts with the 32 KiB before it as
//! dictionary and ends at a byte boundary (a sync flush, RFC 1951 3.2.4). zstd: one frame for each block.
//!
//! The compressor's version is part of this: `Cargo.toml` pins it exactly, and a test holds its bytes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::oci::names;

/// How the canonical layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// gzip: what every engine and registry reads.
    #[default]
    Gzip,
    /// zstd: smaller and faster to unpack; engines from 2020 on.
    Zstd,
}

impl Compression {
    /// As it is typed and recorded.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The media type of a layer that is stored so.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => names::LAYER_GZIP,
            Self::Zstd => names::LAYER_ZSTD,
        }
    }

    /// What compresses, at which level and in which blocks: for the record of a build.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Gzip => "zlib-rs 0.6.8, level 4, blocks of 1 MiB",
            Self::Zstd => "zstd 1.5.7, level 3, frames of 4 MiB",
        }
    }

    const fn block(self) -> usize {
        match self {
            Self::Gzip => 1 << 20,
            Self::Zstd => 4 << 20,
        }
    }
}

/// Measured on a tar of /usr: 4 is the fastest level within 5 % of what `gzip -6` reaches (docs/canonical-image.md).
const GZIP_LEVEL: u32 = 4;
/// Up to this level the match finder is the same code on every processor.
const ZSTD_LEVEL: i32 = 3;
/// As far back as deflate can point.
const DICTIONARY: usize = 32 << 10;
/// More threads would only hold more blocks in memory: the thread that feeds them is then the limit.
const THREADS: usize = 8;
/// No file name, no time, no hint about level or system (RFC 1952 2.3.1).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A writer that compresses in parallel and writes in order. Memory: two blocks and a bit for each thread.
pub struct Compressor<W> {
    out: W,
    compression: Compression,
    block: Vec<u8>,
    dictionary: Vec<u8>,
    /// Answers to come, in the order of the blocks.
    waiting: VecDeque<Receiver<io::Result<Block>>>,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    crc: Crc,
}

struct Job {
    compression: Compression,
    dictionary: Vec<u8>,
    bytes: Vec<u8>,
    last: bool,
    answer: Sender<io::Result<Block>>,
}

struct Block {
    compressed: Vec<u8>,
    crc: Crc,
}

impl<W: Write> Compressor<W> {
    /// Starts a stream. `threads`: `None` for as many as there are cores; the bytes are the same for any number.
    pub fn new(mut out: W, compression: Compression, threads: Option<usize>) -> io::Result<Self> {
        if compression == Compression::Gzip {
            out.write_all(&GZIP_HEADER)?;
        }
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.unwrap_or_else(cores).clamp(1, THREADS);
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = Vec::new();
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            workers.push(thread::Builder::new().name("compress".to_owned()).spawn(move || work(&queue))?);
        }
        Ok(Self {
            out,
            compression,
            block: Vec::with_capacity(compression.block()),
            dictionary: Vec::new(),
            waiting: VecDeque::new(),
            jobs: Some(jobs),
            workers,
            crc: Crc::new(),
        })
    }

    /// Ends the stream and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.submit(true)?;
        while !self.waiting.is_empty() {
            self.collect()?;
        }
        if self.compression == Compression::Gzip {
            self.out.write_all(&self.crc.sum().to_le_bytes())?;
            self.out.write_all(&self.crc.amount().to_le_bytes())?;
        }
        self.jobs = None; // the workers end when nothing more can come
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| gone())?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn submit(&mut self, last: bool) -> io::Result<()> {
        if self.waiting.len() > self.workers.len() {
            self.collect()?;
        }
        let bytes = std::mem::replace(&mut self.block, Vec::with_capacity(self.compression.block()));
        let dictionary = std::mem::take(&mut self.dictionary);
        if self.compression == Compression::Gzip {
            self.dictionary = bytes[bytes.len().saturating_sub(DICTIONARY)..].to_vec();
        }
        let (answer, waiting) = channel();
        let job = Job { compression: self.compression, dictionary, bytes, last, answer };
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        self.waiting.push_back(waiting);
        Ok(())
    }

    fn collect(&mut self) -> io::Result<()> {
        let Some(waiting) = self.waiting.pop_front() else { return Ok(()) };
        let block = waiting.recv().map_err(|_| gone())??;
        self.crc.combine(&block.crc);
        self.out.write_all(&block.compressed)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == self.compression.block() {
            self.submit(false)?; // only now is it known not to be the last one
        }
        let count = bytes.len().min(self.compression.block() - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Nothing: a flush would cut blocks elsewhere.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a compressing thread ended early")
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        let block = match job.compression {
            Compression::Gzip => deflate(&job.dictionary, &job.bytes, job.last),
            Compression::Zstd => zstd::bulk::compress(&job.bytes, ZSTD_LEVEL),
        };
        let mut crc = Crc::new();
        if job.compression == Compression::Gzip {
            crc.update(&job.bytes);
        }
        let _ = job.answer.send(block.map(|compressed| Block { compressed, crc })); // nobody waits: the stream was given up
    }
}

fn deflate(dictionary: &[u8], bytes: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(flate2::Compression::new(GZIP_LEVEL), false);
    if !dictionary.is_empty() {
        compress.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    // Room for the worst case, so that one call does it all: its bytes must not depend on how output was drained.
    let mut compressed = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 1024);
    let status = compress.compress_vec(bytes, &mut compressed, flush).map_err(io::Error::other)?;
    let complete = compress.total_in() == bytes.len() as u64 && compressed.len() < compressed.capacity();
    let ended = if last { status == Status::StreamEnd } else { status == Status::Ok };
    if complete && ended { Ok(compressed) } else { Err(io::Error::other("a block did not compress in one piece")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;
    use std::io::Read;

    /// Text-like, random and empty stretches; the same on every machine.
    fn sample(size: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut bytes = Vec::with_capacity(size + 64);
        while bytes.len() < size {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 29 {
                0 => bytes.extend_from_slice(&[0; 64]),
                1 | 2 => bytes.extend_from_slice(&state.to_le_bytes()),
                _ => bytes.extend_from_slice(format!("line {} of {}\n", state >> 20, (state >> 8) % 97).as_bytes()),
            }
        }
        bytes.truncate(size);
        bytes
    }

    fn compress(bytes: &[u8], compression: Compression, threads: usize, piece: usize) -> Vec<u8> {
        let mut compressor = Compressor::new(Vec::new(), compression, Some(threads)).unwrap();
        for piece in bytes.chunks(piece) {
            compressor.write_all(piece).unwrap();
        }
        compressor.finish().unwrap()
    }

    #[test]
    fn gives_the_same_bytes_for_any_number_of_threads_and_any_writes() {
        let bytes = sample(9 << 20);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let one = compress(&bytes, compression, 1, 1 << 20);
            assert_eq!(one, compress(&bytes, compression, 8, 1 << 20));
            assert_eq!(one, compress(&bytes, compression, 2, 777_777));
        }
    }

    #[test]
    fn any_reader_reads_it_back() {
        for size in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 17, 4 << 20, (8 << 20) + 1] {
            let bytes = sample(size);
            let gzip = compress(&bytes, Compression::Gzip, 2, 65_536);
            let mut back = Vec::new();
            // A reader of single members: there is only one.
            flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{size}");
            let zstd = compress(&bytes, Compression::Zstd, 2, 65_536);
            assert!(zstd::decode_all(&zstd[..]).unwrap() == bytes, "{size}");
        }
    }

    #[test]
    fn incompressible_bytes_fit_too() {
        let mut state = 1_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .take(3 << 20)
        .collect();
        let gzip = compress(&bytes, Compression::Gzip, 2, 65_536);
        assert!(gzip.len() < bytes.len() + 4096);
    }

    /// The canonical image of every template changes with these: a new compressor means a new version of the rules.
    #[test]
    fn the_compressors_are_the_ones_the_rules_name() {
        let bytes = sample(5 << 20);
        let found = [Compression::Gzip, Compression::Zstd].map(|c| Digest::of(&compress(&bytes, c, 2, 65_536)).hex());
        let golden = include_str!("../../../testdata/oci/compressed-sample.sha256");
        assert_eq!(found.join("\n"), golden.trim_end());
    }
}
