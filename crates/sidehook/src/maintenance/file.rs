//! The file: a line that tells what it is, frames behind their lengths, and a trailer
//! with the digest of all before it, so that a file that was cut or changed is refused
//! as a whole before anything of it is used.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sidehook_api::record_v1::{ImageFrame, ImageHeader, ImageTrailer, image_frame::Frame};
use sidehook_core::limits::{CALL_BYTES, FRAME_BYTES};

/// The first line.
const MAGIC: &[u8] = b"sidehook image\n";
/// The format that is written, and the highest that is read.
pub(super) const FORMAT: u32 = 1;
/// A longer frame is no export's: a segment has at most a call's bytes, or one event
/// that came in one message, and an index for each of its records.
const FRAME_MAX: u64 = (CALL_BYTES + 4 * FRAME_BYTES) as u64;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It is something else.
    #[error("this is not a file that `sidehook store export` wrote")]
    Foreign,
    /// It was written by a later version.
    #[error(
        "the file has format {found}, and this version of sidehook reads formats up to {FORMAT}: \
         use the version that wrote it ({version}), or a later one"
    )]
    Newer {
        /// Its format.
        found: u32,
        /// Who wrote it.
        version: String,
    },
    /// It has no end.
    #[error("the file is cut off: it ends before its trailer")]
    Cut,
    /// It is not what was written.
    #[error("the file was changed or is damaged ({0})")]
    Damaged(&'static str),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Writes a file, frame by frame.
pub(super) struct FileWriter<W> {
    to: W,
    digest: Sha256,
    frames: u64,
}

impl<W: Write> FileWriter<W> {
    /// Begins with the header.
    pub(super) fn begin(to: W, header: ImageHeader) -> io::Result<Self> {
        let mut file = Self {
            to,
            digest: Sha256::new(),
            frames: 0,
        };
        file.write(MAGIC)?;
        let frame = Some(Frame::Header(header));
        file.put(&ImageFrame { frame })?;
        Ok(file)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.to.write_all(bytes)
    }

    /// Writes a frame.
    pub(super) fn put(&mut self, frame: &ImageFrame) -> io::Result<()> {
        self.frames += 1;
        self.write(&frame.encode_length_delimited_to_vec())
    }

    /// Writes the trailer; the writer beneath.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let trailer = ImageTrailer {
            frames: self.frames,
            sha256: Bytes::copy_from_slice(&self.digest.finalize()),
        };
        let frame = Some(Frame::Trailer(trailer));
        let frame = ImageFrame { frame };
        self.to.write_all(&frame.encode_length_delimited_to_vec())?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Reads a file, frame by frame.
pub(super) struct FileReader<R> {
    from: R,
    digest: Sha256,
    frames: u64,
}

impl<R: BufRead> FileReader<R> {
    /// Begins with the header.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn begin(from: R) -> Result<(Self, ImageHeader), FileError> {
        let mut file = Self {
            from,
            digest: Sha256::new(),
            frames: 0,
        };
        let mut magic = [0; MAGIC.len()];
        match file.from.read_exact(&mut magic) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(FileError::Foreign);
            }
            read => read?,
        }
        if magic != MAGIC {
            return Err(FileError::Foreign);
        }
        file.digest.update(MAGIC);
        let Some(Frame::Header(header)) = file.next()? else {
            return Err(FileError::Damaged("it does not begin with a header"));
        };
        if header.format > FORMAT {
            return Err(FileError::Newer {
                found: header.format,
                version: header.sidehook_version,
            });
        }
        Ok((file, header))
    }

    /// The next frame; `None` behind a trailer that is right.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FileError> {
        let prefix = self.length()?;
        let length = prost::decode_length_delimiter(&prefix[..]);
        let length = length.map_err(|_| FileError::Damaged("a length"))? as u64;
        if length > FRAME_MAX {
            return Err(FileError::Damaged("a length"));
        }
        let mut bytes = Vec::new();
        self.from.by_ref().take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(FileError::Cut);
        }
        let bytes = Bytes::from(bytes);
        let frame = ImageFrame::decode(bytes.clone()).ok();
        let frame = frame.and_then(|frame| frame.frame);
        let frame = frame.ok_or(FileError::Damaged("a frame"))?;
        if let Frame::Trailer(trailer) = frame {
            self.check(&trailer)?;
            return Ok(None);
        }
        self.digest.update(&prefix);
        self.digest.update(&bytes);
        self.frames += 1;
        Ok(Some(frame))
    }

    /// The bytes of a length: up to the first whose highest bit is clear.
    fn length(&mut self) -> Result<Vec<u8>, FileError> {
        let mut prefix = Vec::with_capacity(10);
        while prefix.last().is_none_or(|last| last & 0x80 != 0) {
            let mut byte = [0];
            if prefix.len() == 10 {
                return Err(FileError::Damaged("a length"));
            }
            if self.from.read(&mut byte)? == 0 {
                return Err(FileError::Cut);
            }
            prefix.push(byte[0]);
        }
        Ok(prefix)
    }

    fn check(&mut self, trailer: &ImageTrailer) -> Result<(), FileError> {
        let digest = core::mem::take(&mut self.digest).finalize();
        if trailer.sha256[..] != digest[..] {
            return Err(FileError::Damaged("its digest is another one"));
        }
        if trailer.frames != self.frames {
            return Err(FileError::Damaged("frames are missing"));
        }
        if self.from.fill_buf()?.is_empty() {
            Ok(())
        } else {
            Err(FileError::Damaged("something follows its trailer"))
        }
    }
}

#[cfg(test)]
mod tests {
    use sidehook_api::record_v1::ImageRegistry;

    use super::*;

    fn header(format: u32) -> ImageHeader {
        ImageHeader {
            format,
            sidehook_version: "9.8.7".to_owned(),
            ..ImageHeader::default()
        }
    }

    fn written(format: u32) -> Vec<u8> {
        let mut file = FileWriter::begin(Vec::new(), header(format)).expect("memory has room");
        for number in 0..3_u8 {
            let record = ImageRegistry {
                kind: "tenant".to_owned(),
                key: Bytes::from(vec![number; 300]),
                value: Bytes::new(),
            };
            let frame = Some(Frame::Registry(record));
            file.put(&ImageFrame { frame }).expect("memory has room");
        }
        file.finish().expect("memory has room")
    }

    /// How many records a file has.
    fn read(bytes: &[u8]) -> Result<usize, FileError> {
        let (mut file, _) = FileReader::begin(bytes)?;
        let mut count = 0;
        while file.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn a_whole_file_is_read() {
        assert_eq!(read(&written(FORMAT)).expect("it is whole"), 3);
    }

    #[test]
    fn every_cut_is_found() {
        let whole = written(FORMAT);
        for end in 0..whole.len() {
            let error = read(&whole[..end]).expect_err("it is cut");
            assert!(
                matches!(error, FileError::Cut | FileError::Foreign),
                "{end}: {error}"
            );
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let whole = written(FORMAT);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            read(&changed).expect_err("a byte is another one");
        }
    }

    #[test]
    fn what_follows_is_found() {
        let mut longer = written(FORMAT);
        longer.push(0);
        let error = read(&longer).expect_err("it is longer");
        assert!(matches!(error, FileError::Damaged(_)), "{error}");
    }

    #[test]
    fn newer_formats_are_named() {
        let error = read(&written(FORMAT + 1)).expect_err("it is newer");
        let told = error.to_string();
        assert!(told.contains("9.8.7"), "{told}");
    }
}
