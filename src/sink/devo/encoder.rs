//! `Encoder` gathers lines and writes them in large pieces, as they are or as gzip members.
//!
//! A member ends with a line and holds about [`MEMBER`] bytes, so that a receiver that expects the
//! compressed form of Devo's own senders can read each by itself (`Sender.send` of devo-sdk 7.0.2 with
//! `zip=True`).

use std::io::{self, Write};
use std::mem;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Plain lines are gathered up to this many bytes, which TLS takes at once. A longer event is written by itself. Gzip
/// members are gathered to at least as many bytes.
pub const PIECE: usize = crate::net::tls::WRITE;
/// Size at which a member ends, in bytes before compression: the one that Devo's collectors use.
pub const MEMBER: usize = 50 * 1024;

/// Lines on their way to the receiver.
#[derive(Debug)]
pub enum Encoder {
    /// As they are.
    Plain(Vec<u8>),
    /// As gzip members: the one that is being filled, and how many bytes have gone into it.
    Gzip(GzEncoder<Vec<u8>>, usize),
}

impl Encoder {
    /// Lines as they are.
    #[must_use]
    pub fn plain() -> Encoder {
        Encoder::Plain(Vec::with_capacity(PIECE))
    }

    /// Lines as gzip members.
    #[must_use]
    pub fn gzip() -> Encoder {
        let packed = Vec::with_capacity(PIECE + PIECE / 4);
        Encoder::Gzip(GzEncoder::new(packed, Compression::default()), 0)
    }

    /// Adds a line: `head`, `event` and a line feed. Writes what has gathered, if that is enough.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn add<E: From<io::Error>>(
        &mut self,
        head: &[u8],
        event: &[u8],
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Encoder::Plain(lines) => {
                let length = head.len() + event.len() + 1;
                if !lines.is_empty() && lines.len() + length > PIECE {
                    write(lines)?;
                    lines.clear();
                }
                lines.extend_from_slice(head);
                // a large event is not copied
                if length > PIECE {
                    write(lines)?;
                    lines.clear();
                    write(event)?;
                } else {
                    lines.extend_from_slice(event);
                }
                lines.push(b'\n');
            }
            Encoder::Gzip(encoder, inside) => {
                *inside += head.len() + event.len() + 1;
                for part in [head]
                    .into_iter()
                    .chain(event.chunks(PIECE))
                    .chain([&b"\n"[..]])
                {
                    encoder.write_all(part)?;
                    if encoder.get_ref().len() >= PIECE {
                        write(encoder.get_ref())?;
                        encoder.get_mut().clear();
                    }
                }
                if *inside >= MEMBER {
                    end_member(encoder, inside)?;
                }
            }
        }
        Ok(())
    }

    /// Writes everything that has gathered.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn flush<E: From<io::Error>>(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let gathered = match self {
            Encoder::Plain(lines) => lines,
            Encoder::Gzip(encoder, inside) => {
                end_member(encoder, inside)?;
                encoder.get_mut()
            }
        };
        write(gathered)?;
        gathered.clear();
        Ok(())
    }

    /// Forgets what has gathered.
    pub fn clear(&mut self) {
        *self = match self {
            Encoder::Plain(lines) => {
                lines.clear();
                Encoder::Plain(mem::take(lines))
            }
            Encoder::Gzip(..) => Encoder::gzip(),
        };
    }
}

/// Ends a member that holds something, and begins another one behind it.
fn end_member(encoder: &mut GzEncoder<Vec<u8>>, inside: &mut usize) -> io::Result<()> {
    if mem::take(inside) == 0 {
        return Ok(());
    }
    encoder.try_finish()?;
    let packed = mem::take(encoder.get_mut());
    *encoder = GzEncoder::new(packed, Compression::default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    use flate2::bufread::GzDecoder;
    use flate2::read::MultiGzDecoder;

    /// The pieces that come of lines of these lengths, flushed at the end.
    fn pieces(mut encoder: Encoder, lengths: &[usize]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut pieces, mut lines) = (Vec::new(), Vec::new());
        let mut write = |piece: &[u8]| -> io::Result<()> {
            pieces.push(piece.to_owned());
            Ok(())
        };
        for (number, length) in lengths.iter().enumerate() {
            let event: Vec<u8> = (0..*length)
                .map(|at| (at * 31 + number) as u8 | 32)
                .collect();
            encoder.add(b"<14>head: ", &event, &mut write).unwrap();
            lines.extend_from_slice(b"<14>head: ");
            lines.extend_from_slice(&event);
            lines.push(b'\n');
        }
        encoder.flush(&mut write).unwrap();
        encoder.flush(&mut write).unwrap();
        (pieces, lines)
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        for lengths in [
            &[][..],
            &[0],
            &[5, 70_000, 1, 300_000, 9],
            &[3_000_000],
            &[900; 500],
        ] {
            let (plain, lines) = pieces(Encoder::plain(), lengths);
            assert!(plain.concat() == lines, "{lengths:?}");
            let (packed, lines) = pieces(Encoder::gzip(), lengths);
            let mut unpacked = Vec::new();
            let packed = packed.concat();
            assert_eq!(packed.is_empty(), lines.is_empty());
            if !packed.is_empty() {
                let mut decoder = MultiGzDecoder::new(&*packed);
                decoder.read_to_end(&mut unpacked).unwrap();
            }
            assert!(unpacked == lines, "{lengths:?}");
        }
    }

    #[test]
    fn a_piece_is_as_long_as_tls_takes_at_once() {
        let line = b"<14>head: ".len() + 900 + 1;
        let (plain, _) = pieces(Encoder::plain(), &[900; 1000]);
        let (last, whole) = plain.split_last().unwrap();
        assert!(last.is_empty());
        let lengths: Vec<usize> = whole.iter().map(Vec::len).collect();
        let full = PIECE / line * line;
        assert_eq!(lengths, [full, full, full, 1000 * line - 3 * full]);
        // the longest line that is copied, and one that is not
        let longest = PIECE - b"<14>head: ".len() - 1;
        let lengths = |event| -> Vec<usize> {
            let (plain, _) = pieces(Encoder::plain(), &[5, event, 5]);
            plain.iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(longest), [16, PIECE, 16, 0]);
        assert_eq!(lengths(longest + 1), [16, 10, longest + 1, 17, 0]);
    }

    #[test]
    fn a_member_ends_with_a_line_once_it_is_large_enough() {
        let (packed, lines) = pieces(Encoder::gzip(), &[900; 500]);
        let packed = packed.concat();
        let (mut rest, mut members) = (&*packed, Vec::new());
        while !rest.is_empty() {
            assert_eq!(rest[..2], [0x1f, 0x8b]);
            let mut member = Vec::new();
            let mut decoder = GzDecoder::new(rest);
            decoder.read_to_end(&mut member).unwrap();
            rest = decoder.into_inner();
            members.push(member);
        }
        assert!(members.concat() == lines);
        assert_eq!(members.len(), lines.len().div_ceil(57 * 911));
        let (last, whole) = members.split_last().unwrap();
        assert!(last.ends_with(b"\n"));
        for member in whole {
            assert!(member.ends_with(b"\n") && (MEMBER..MEMBER + 911).contains(&member.len()));
        }
    }
}
