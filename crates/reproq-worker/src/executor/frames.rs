//! Frames on a child's stream: `contracts/executor.md`, "Mode pool".

use thiserror::Error;

const MAGIC: [u8; 4] = *b"RQF1";
const HEADER: usize = 12;
/// How much to read at a time, at least: more than an answer usually has.
const READ: usize = 8 * 1024;
/// Larger than any answer that a child may send (it refuses larger ones itself).
const LARGEST: usize = 64 * 1024 * 1024;

/// Bytes that are no frame.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum FrameError {
    /// Something else has written to the stream.
    #[error(
        "its stream holds something that is no frame: the task, or a library, wrote to a descriptor that is not its own"
    )]
    NoFrame,
    /// The length is absurd.
    #[error("its answer has {0} bytes")]
    TooLarge(usize),
    /// The content is not what was sent.
    #[error(
        "its answer was damaged on the way: the task, or a library, wrote to a descriptor that is not its own"
    )]
    Damaged,
}

/// Appends one frame.
pub(super) fn write(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// What has been read and not taken yet.
#[derive(Default)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
    /// Everything before has been taken.
    start: usize,
}

impl FrameBuffer {
    /// Room to read into; the caller appends.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.reserve(READ);
        &mut self.bytes
    }

    /// Whether everything that was read has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// The payload of the next whole frame, if it is there.
    pub(super) fn take(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = &self.bytes[self.start..];
        if !rest.iter().zip(MAGIC).all(|(byte, wanted)| *byte == wanted) {
            return Err(FrameError::NoFrame);
        }
        let Some((header, _)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = word(4) as usize;
        if length > LARGEST {
            return Err(FrameError::TooLarge(length));
        }
        if rest.len() < HEADER + length {
            return Ok(None);
        }
        let begin = self.start + HEADER;
        self.start = begin + length;
        let payload = &self.bytes[begin..begin + length];
        if crc32fast::hash(payload) == word(8) { Ok(Some(payload)) } else { Err(FrameError::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> FrameBuffer {
        FrameBuffer { bytes: bytes.to_vec(), start: 0 }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut sent = Vec::new();
        write(b"one", &mut sent);
        write(b"", &mut sent);
        write("dv\u{11b}".as_bytes(), &mut sent);
        let mut read = FrameBuffer::default();
        let mut out = Vec::new();
        for byte in sent {
            read.room().push(byte);
            while let Some(payload) = read.take().unwrap() {
                out.push(payload.to_vec());
            }
        }
        assert_eq!(out, [b"one".to_vec(), Vec::new(), "dv\u{11b}".as_bytes().to_vec()]);
    }

    #[test]
    fn foreign_bytes_are_noticed_at_the_first_one() {
        assert_eq!(buffer(b"hello").take(), Err(FrameError::NoFrame));
        assert_eq!(buffer(b"RX").take(), Err(FrameError::NoFrame));
        assert_eq!(buffer(b"RQ").take(), Ok(None));
    }

    #[test]
    fn a_flipped_bit_and_an_absurd_length_are_refused() {
        let mut sent = Vec::new();
        write(b"payload", &mut sent);
        let mut damaged = sent.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(buffer(&damaged).take(), Err(FrameError::Damaged));
        sent[7] = 0xff;
        assert!(matches!(buffer(&sent).take(), Err(FrameError::TooLarge(_))));
    }
}
