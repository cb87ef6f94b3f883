//! Where a program's output waits for the one who asked for it.
//!
//! The frames are laid end to end and cut into blocks; each block is sealed with a key that exists only in memory and
//! written to a file that has no name any more. So whatever happens to placet, no output stays behind. Memory holds one
//! block and an offset for each other. Readers come and go, from any frame on; the writer never waits for them, only for
//! the disk, and stops at the cap.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use placet_core::time::Timestamp;
use tokio::sync::watch;

use super::room::Room;
use crate::frames::{self, HEADER_BYTES, Kind};

/// Seals the blocks of one spool. The binary has one over AES-GCM, with a key of its own for each execution; `number` is
/// unique among the blocks of a spool and may serve as the nonce.
pub trait SpoolSeal: Send + Sync {
    /// Encrypts a block.
    fn seal(&self, number: u64, plain: &[u8]) -> Vec<u8>;
    /// Decrypts a block; nothing if it was altered.
    fn open(&self, number: u64, sealed: &[u8]) -> Option<Vec<u8>>;
}

/// Frames are cut into blocks of this size.
const BLOCK_BYTES: usize = 64 * 1024;

/// The output of one execution.
pub struct Spool {
    file: File,
    seal: Box<dyn SpoolSeal>,
    cap: u64,
    /// What all spools of the process have together.
    room: Room,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct State {
    /// The sealed blocks: where each ends in the file, and where in the block the first frame starts, if one does.
    blocks: Vec<(u64, Option<usize>)>,
    /// The block that is being filled, and where in it the first frame starts.
    tail: Vec<u8>,
    tail_first_frame: Option<usize>,
    /// What the room gave.
    taken: usize,
    discarded: bool,
}

/// How far the output has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of frames that can be read.
    pub length: u64,
    /// When the end frame was written.
    pub ended: Option<Timestamp>,
    /// The output was read to its end, or nobody came for it.
    pub discarded: bool,
}

/// Output cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// There is no frame at this offset.
    #[error("read output: no frame starts at byte {0}, continue where the last whole frame ended")]
    Offset(u64),
    /// It is not there any more.
    #[error("read output: it was read to its end, or nobody asked for it in time, and was deleted")]
    Gone,
    /// The machine failed.
    #[error("read or write spooled output")]
    Io(#[from] io::Error),
}

impl Spool {
    /// A spool in `directory` that takes at most `cap` bytes of output frames, as long as there is room for them.
    pub fn create(
        directory: &Path,
        name: &str,
        seal: Box<dyn SpoolSeal>,
        cap: u64,
        room: &Room,
    ) -> io::Result<Self> {
        let path = directory.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        let (room, state, progress) = (room.clone(), Mutex::default(), watch::Sender::default());
        Ok(Spool { file, seal, cap, room, state, progress })
    }

    /// Adds output and says how many of its bytes were taken: fewer than all means that the cap is reached, or that there
    /// is no room.
    pub fn append(&self, kind: Kind, payload: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let mut taken = 0;
        for part in payload.chunks(frames::PAYLOAD_BYTES_MAX) {
            let room = self.cap.saturating_sub(self.length(&state)).saturating_sub(HEADER_BYTES as u64);
            let fits = part.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            if fits == 0 || !self.take_room(&mut state, fits + HEADER_BYTES) {
                break;
            }
            self.put(&mut state, kind, part.get(..fits).unwrap_or_default())?;
            taken += fits;
            if fits < part.len() {
                break;
            }
        }
        Ok(taken)
    }

    fn take_room(&self, state: &mut State, bytes: usize) -> bool {
        // What was discarded is written nowhere.
        let taken = state.discarded || self.room.take(bytes);
        state.taken += if state.discarded { 0 } else { bytes * usize::from(taken) };
        taken
    }

    /// Adds the end frame. Nothing is added after it.
    pub fn end(&self, end: &frames::End, now: Timestamp) -> io::Result<()> {
        let mut state = self.state();
        self.put(&mut state, Kind::End, &end.to_payload())?;
        self.progress.send_modify(|progress| progress.ended = Some(now));
        Ok(())
    }

    fn put(&self, state: &mut State, kind: Kind, payload: &[u8]) -> io::Result<()> {
        if state.discarded {
            return Ok(());
        }
        if state.tail_first_frame.is_none() {
            state.tail_first_frame = Some(state.tail.len());
        }
        frames::encode(kind, payload, &mut state.tail);
        while state.tail.len() >= BLOCK_BYTES {
            self.seal_block(state)?;
        }
        let length = self.length(state);
        self.progress.send_modify(|progress| progress.length = length);
        Ok(())
    }

    fn seal_block(&self, state: &mut State) -> io::Result<()> {
        let rest = state.tail.split_off(BLOCK_BYTES);
        let start = state.blocks.last().map_or(0, |(end, _)| *end);
        let sealed = self.seal.seal(state.blocks.len() as u64, &state.tail);
        self.file.write_all_at(&sealed, start)?;
        state.blocks.push((start + sealed.len() as u64, state.tail_first_frame));
        state.tail = rest;
        // What is left over belongs to the frame that was just added.
        state.tail_first_frame = None;
        Ok(())
    }

    fn length(&self, state: &State) -> u64 {
        (state.blocks.len() * BLOCK_BYTES + state.tail.len()) as u64
    }

    /// How far it has come; the receiver is told of every change.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The bytes from `offset` on, at least one and at most a block of them; none if there are none yet.
    pub fn read(&self, offset: u64) -> Result<Vec<u8>, SpoolError> {
        let state = self.state();
        if state.discarded {
            return Err(SpoolError::Gone);
        }
        let (block, within) = split(offset).ok_or(SpoolError::Offset(offset))?;
        let plain = self.block(&state, block)?;
        Ok(plain.get(within..).ok_or(SpoolError::Offset(offset))?.to_vec())
    }

    fn block(&self, state: &State, number: usize) -> Result<Vec<u8>, SpoolError> {
        if number == state.blocks.len() {
            return Ok(state.tail.clone());
        }
        let (end, _) = *state.blocks.get(number).ok_or(SpoolError::Offset((number * BLOCK_BYTES) as u64))?;
        let before = number.checked_sub(1).and_then(|before| state.blocks.get(before));
        let start = before.map_or(0, |(end, _)| *end);
        let mut sealed = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut sealed, start)?;
        let plain = self.seal.open(number as u64, &sealed);
        Ok(plain.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a spooled block was altered"))?)
    }

    /// Checks that a frame starts at `offset`, or that it is where the next one will.
    pub fn check_offset(&self, offset: u64) -> Result<(), SpoolError> {
        let state = self.state();
        if state.discarded {
            return Err(SpoolError::Gone);
        }
        let refused = || SpoolError::Offset(offset);
        if offset == self.length(&state) {
            return Ok(());
        }
        let (last, _) = split(offset).ok_or_else(refused)?;
        // A frame starts somewhere in one of the three blocks up to this one: it is hardly longer than one.
        let first_frame = |block: usize| match state.blocks.get(block) {
            Some((_, first)) => *first,
            None if block == state.blocks.len() => state.tail_first_frame,
            None => None,
        };
        let starts_before = |block: &usize| {
            first_frame(*block).is_some_and(|first| (block * BLOCK_BYTES + first) as u64 <= offset)
        };
        let from = (last.saturating_sub(2)..=last).rev().find(starts_before).ok_or_else(refused)?;
        let mut plain = Vec::new();
        for block in from..=last {
            plain.extend(self.block(&state, block)?);
        }
        let goal = usize::try_from(offset).map_err(|_| refused())? - from * BLOCK_BYTES;
        let mut at = first_frame(from).ok_or_else(refused)?;
        while at < goal {
            let header =
                plain.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>()).ok_or_else(refused)?;
            let (_, length) = frames::parse_header(*header).map_err(|_| refused())?;
            at += HEADER_BYTES + length;
        }
        if at == goal { Ok(()) } else { Err(refused()) }
    }

    /// Deletes the output.
    pub fn discard(&self) {
        let mut state = self.state();
        self.room.give_back(state.taken);
        *state = State { discarded: true, ..State::default() };
        if let Err(error) = self.file.set_len(0) {
            tracing::error!(%error, "spooled output could not be deleted");
        }
        self.progress.send_modify(|progress| progress.discarded = true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.room.give_back(self.state().taken);
    }
}

/// The block of an offset, and the place in it.
fn split(offset: u64) -> Option<(usize, usize)> {
    let offset = usize::try_from(offset).ok()?;
    Some((offset / BLOCK_BYTES, offset % BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frames::Decoder;

    /// Shows whether blocks go through the seal in order; encrypts nothing.
    struct Backwards;
    impl SpoolSeal for Backwards {
        fn seal(&self, number: u64, plain: &[u8]) -> Vec<u8> {
            let mut sealed: Vec<u8> = plain.iter().rev().map(|byte| byte ^ 0x55).collect();
            sealed.extend(number.to_be_bytes());
            sealed
        }
        fn open(&self, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
            let (body, tag) = sealed.split_at_checked(sealed.len().checked_sub(8)?)?;
            (tag == number.to_be_bytes()).then(|| body.iter().rev().map(|byte| byte ^ 0x55).collect())
        }
    }

    fn spool(cap: u64) -> Spool {
        spool_in(&Room::of(1 << 40), cap)
    }

    fn spool_in(room: &Room, cap: u64) -> Spool {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::create(directory.path(), "s", Box::new(Backwards), cap, room).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the file has no name");
        spool
    }

    fn read_all(spool: &Spool, from: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let more = spool.read(from + bytes.len() as u64).unwrap();
            if more.is_empty() {
                return bytes;
            }
            bytes.extend(more);
        }
    }

    #[test]
    fn takes_no_more_than_the_cap() {
        let spool = spool(100);
        assert_eq!(spool.append(Kind::Stdout, &[1; 50]).unwrap(), 50);
        assert_eq!(spool.append(Kind::Stdout, &[1; 50]).unwrap(), 100 - 8 - 50 - 8);
        assert_eq!(spool.append(Kind::Stdout, &[1]).unwrap(), 0);
        assert_eq!(spool.progress().borrow().length, 100);
    }

    #[test]
    fn all_of_them_take_no_more_than_there_is_room() {
        let room = Room::of(200);
        let (one, other) = (spool_in(&room, 1000), spool_in(&room, 1000));
        assert_eq!(one.append(Kind::Stdout, &[1; 100]).unwrap(), 100);
        assert_eq!(other.append(Kind::Stdout, &[1; 100]).unwrap(), 0, "with its header it does not fit");
        assert_eq!(other.append(Kind::Stdout, &[1; 84]).unwrap(), 84);
        assert_eq!(room.left(), 0);
        one.discard();
        assert_eq!(
            one.append(Kind::Stdout, &[1; 500]).unwrap(),
            500,
            "nobody wants it, and it is kept nowhere"
        );
        assert_eq!(room.left(), 108);
        drop((one, other));
        assert_eq!(room.left(), 200);
    }

    #[test]
    fn sealed_on_disk_and_gone_when_discarded() {
        let spool = spool(1 << 20);
        spool.append(Kind::Stdout, &[b'x'; 200_000]).unwrap();
        let mut disk = vec![0; 65_000];
        spool.file.read_exact_at(&mut disk, 0).unwrap();
        assert!(!disk.windows(8).any(|window| window == b"xxxxxxxx"));
        spool.discard();
        assert_eq!(spool.file.metadata().unwrap().len(), 0);
        assert!(matches!(spool.read(0), Err(SpoolError::Gone)));
        assert!(matches!(spool.check_offset(0), Err(SpoolError::Gone)));
        assert!(spool.progress().borrow().discarded);
    }

    #[test]
    fn an_altered_block_is_not_delivered() {
        let spool = spool(1 << 20);
        spool.append(Kind::Stdout, &[b'x'; 100_000]).unwrap();
        spool.file.write_all_at(&[9; 8], BLOCK_BYTES as u64).unwrap();
        assert!(matches!(spool.read(0), Err(SpoolError::Io(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn can_be_continued_at_each_frame_and_nowhere_else(
            sizes in prop::collection::vec((any::<bool>(), prop_oneof![1usize..100, 60_000usize..140_000]), 1..12),
        ) {
            let spool = spool(1 << 30);
            for (place, (stdout, size)) in sizes.iter().enumerate() {
                let kind = if *stdout { Kind::Stdout } else { Kind::Stderr };
                spool.append(kind, &vec![place as u8; *size]).unwrap();
            }
            let whole = read_all(&spool, 0);
            let mut decoder = Decoder::default();
            decoder.push(&whole);
            let mut starts = vec![0];
            while decoder.next_frame().unwrap().is_some() {
                starts.push(decoder.offset());
            }
            prop_assert_eq!(*starts.last().unwrap(), whole.len() as u64);
            for start in &starts {
                prop_assert!(spool.check_offset(*start).is_ok());
                prop_assert_eq!(&read_all(&spool, *start), &whole[*start as usize..]);
                for near in [start.saturating_sub(1), start + 1, start + 8, start + 65_536] {
                    prop_assert_eq!(spool.check_offset(near).is_ok(), starts.contains(&near));
                }
            }
        }
    }
}
