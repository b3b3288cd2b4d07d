//! Lines of any bytes and any length come out as they went in. As gzip, members are whole at each flush,
//! end with a line, and are no longer than the line that fills them makes them.

#![no_main]

use std::io::Read;

use flate2::bufread::GzDecoder;
use flate2::read::MultiGzDecoder;
use libfuzzer_sys::fuzz_target;
use proofpull::sink::devo::encoder::{Encoder, MEMBER, PIECE};

/// What all events take together where they are longer than the bytes that they are made of: enough for a piece.
const LONG: usize = 300_000;

fuzz_target!(|steps: Vec<(u8, u32, &[u8])>| {
    let mut left = LONG;
    let events = steps.iter().map(|(step, length, bytes)| {
        // mostly short ones
        let length = match step >> 4 {
            15 => (*length as usize % LONG).min(left),
            14 => (*length as usize % MEMBER).min(left),
            _ => bytes.len(),
        };
        left = left.saturating_sub(length);
        (step & 15, stretched(bytes, length))
    });
    let events: Vec<(u8, Vec<u8>)> = events.collect();
    check(Encoder::plain(), &events, |sent| sent.to_vec());
    check(Encoder::gzip(), &events, |sent| {
        let mut lines = Vec::new();
        // nothing at all is no member
        if !sent.is_empty() {
            MultiGzDecoder::new(sent).read_to_end(&mut lines).unwrap();
        }
        let mut rest = sent;
        while !rest.is_empty() {
            let (mut member, mut decoder) = (Vec::new(), GzDecoder::new(rest));
            decoder.read_to_end(&mut member).unwrap();
            rest = decoder.into_inner();
            let before = member.strip_suffix(b"\n").expect("it ends with a line");
            let last = before.iter().rposition(|byte| *byte == b'\n');
            assert!(last.is_none_or(|last| last < MEMBER), "{}", member.len());
        }
        lines
    });
});

/// Adds, flushes and forgets as the steps say; whether what was sent between two flushes is what was added.
fn check(mut encoder: Encoder, events: &[(u8, Vec<u8>)], read: impl Fn(&[u8]) -> Vec<u8>) {
    const HEAD: &[u8] = b"<14>2026-11-27T12:00:00Z host my.app.x: ";
    let (mut sent, mut lines) = (Vec::new(), Vec::new());
    for (step, event) in events {
        let mut write = |piece: &[u8]| {
            // but for an event that is not copied
            let most = event.len().max(2 * PIECE + HEAD.len() + 1024);
            assert!(piece.len() <= most, "{} at once", piece.len());
            sent.extend_from_slice(piece);
            std::io::Result::Ok(())
        };
        match step {
            0 => {
                encoder.flush(&mut write).unwrap();
                assert!(read(&sent) == lines);
                (sent, lines) = (Vec::new(), Vec::new());
            }
            // the connection broke: both begin anew
            1 => {
                encoder.clear();
                (sent, lines) = (Vec::new(), Vec::new());
            }
            _ => {
                encoder.add(HEAD, event, &mut write).unwrap();
                lines.extend_from_slice(HEAD);
                lines.extend_from_slice(event);
                lines.push(b'\n');
            }
        }
    }
    let mut write = |piece: &[u8]| std::io::Result::Ok(sent.extend_from_slice(piece));
    encoder.flush(&mut write).unwrap();
    encoder.flush(&mut write).unwrap();
    assert!(read(&sent) == lines);
}

/// So many bytes that are no line feed, made of these; half of the time hardly compressible.
fn stretched(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut state = bytes
        .iter()
        .fold(0x9e37_79b9_7f4a_7c15, |state: u64, byte| {
            state.wrapping_mul(31).wrapping_add((*byte).into())
        });
    let is_noise = bytes.first().is_some_and(|byte| byte & 1 == 1);
    let cycle = bytes.iter().copied().chain([b'.']).cycle();
    let event = cycle.take(length).map(|byte| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let byte = if is_noise { state as u8 } else { byte };
        if byte == b'\n' { b' ' } else { byte }
    });
    event.collect()
}
