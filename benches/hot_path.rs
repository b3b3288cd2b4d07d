//! The steps that every event takes: the split, the identity, whether it is known, the record, TLS.
//!
//! `cargo bench --bench hot_path [NAME]`. divan and not criterion: it prints a rate for each step in
//! seconds instead of minutes, and brings four crates instead of forty; what matters here is a factor,
//! not a hundredth.

use std::sync::Arc;
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use proofpull::clock::Clock;
use proofpull::config;
use proofpull::json_stream::Splitter;
use proofpull::net::{
    Network,
    tls::{Roots, Trust},
};
use proofpull::pipeline::batch::{Batch, EventId, Record, RequestId};
use proofpull::shutdown::Shutdown;
use proofpull::sink::Sink;
use proofpull::sink::devo::{self, Devo};
use proofpull::source::tap::{EventKind, identify, identify_by_outline};
use proofpull::state::dedup::DedupIndex;
use proofpull::transform::Transform;
use time::OffsetDateTime;

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use simulator::{Certs, Options, Rng, sample};

fn main() {
    divan::main();
}

/// So many different messages, about 2 kB each.
const EVENTS: usize = 2000;
/// What is read from a connection at once.
const PIECE: usize = 128 * 1024;

fn events() -> Vec<Vec<u8>> {
    let rng = &mut Rng::new(1);
    let now = OffsetDateTime::now_utc();
    let make = |serial| sample::message(rng, now, serial, "dana.reyes@examplecorp.example");
    let bodies = (0..EVENTS as u64).map(make);
    bodies.map(|body| body.text().to_owned()).collect()
}

fn bytes(events: &[Vec<u8>]) -> BytesCount {
    BytesCount::new(events.iter().map(Vec::len).sum::<usize>())
}

/// An answer with these events.
fn answer(events: &[Vec<u8>]) -> Vec<u8> {
    let array = events.join(&b","[..]);
    let frame = &br#"{"queryEndTime":"","messagesBlocked":["#[..];
    [frame, &array, b"]}"].concat()
}

/// Without the outlines of the events, and with them.
#[divan::bench(args = [false, true])]
fn split(bencher: Bencher, with_outlines: bool) {
    let answer = answer(&events());
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    bencher
        .counter(BytesCount::new(answer.len()))
        .bench_local(|| {
            let mut splitter = Splitter::new(&["messagesBlocked"]);
            if with_outlines {
                splitter = splitter.with_outlines();
            }
            text.clear();
            ends.clear();
            for piece in answer.chunks(PIECE) {
                splitter.feed(piece, &mut text, &mut ends).expect("JSON");
            }
            assert_eq!(ends.len(), EVENTS);
        });
}

/// By a parser.
#[divan::bench]
fn identities(bencher: Bencher) {
    let events = events();
    bencher.counter(bytes(&events)).bench_local(|| {
        for event in &events {
            black_box(identify(EventKind::Message, event));
        }
    });
}

/// By their outlines.
#[divan::bench]
fn identities_by_outline(bencher: Bencher) {
    let events = events();
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    let mut splitter = Splitter::new(&["messagesBlocked"]).with_outlines();
    splitter
        .feed(&answer(&events), &mut text, &mut ends)
        .expect("JSON");
    let outlines = splitter.take_outlines();
    bencher.counter(bytes(&events)).bench_local(|| {
        for (event, outline) in events.iter().zip(outlines.each()) {
            assert!(!outline.is_empty());
            black_box(identify_by_outline(EventKind::Message, event, outline));
        }
    });
}

/// What the Python collector does for each event, and we for those without an id.
#[divan::bench]
fn canonical_identities(bencher: Bencher) {
    let events = events();
    bencher.counter(bytes(&events)).bench_local(|| {
        for event in &events {
            black_box(proofpull::digest::canonical(event, &["messageParts"]));
        }
    });
}

/// New ones, where so many are known.
#[divan::bench(args = [0, 500_000, 2_500_000])]
fn dedup(bencher: Bencher, known: u64) {
    let rng = &mut Rng::new(2);
    let mut digest = || {
        let halves = [rng.bits(), rng.bits()].map(u64::to_le_bytes);
        EventId::Key(halves.concat().try_into().expect("16 bytes"))
    };
    let mut dedup = DedupIndex::empty(std::path::Path::new("never-written"));
    let request = RequestId::default();
    for _ in 0..known {
        dedup.insert(digest(), request);
    }
    let new = || (0..EVENTS).map(|_| digest()).collect::<Vec<_>>();
    let bencher = bencher.counter(ItemsCount::new(EVENTS));
    bencher.with_inputs(new).bench_local_values(|new| {
        for identity in new {
            black_box(dedup.insert(identity, request));
        }
    });
}

#[divan::bench]
fn transform(bencher: Bencher) {
    let events = events();
    let transform = Transform::default().appending([("@devo_pulling_id", "1795493014421")]);
    let mut out = Vec::new();
    bencher.counter(bytes(&events)).bench_local(|| {
        out.clear();
        for event in &events {
            transform.write(event, false, &mut out, &mut []);
        }
    });
}

/// Records and TLS to a receiver that reads and counts lines in another thread, then the
/// confirmation with its waits: 64 MiB, as between two commits, and almost nothing.
#[divan::bench(args = [64 << 20, 4096], sample_count = 10)]
fn sink(bencher: Bencher, size: usize) {
    deliver(bencher, size, config::Compression::None);
}

/// The same with gzip: beside it, how much smaller the records are on the wire.
#[divan::bench(args = [64 << 20], sample_count = 3)]
fn sink_gzip(bencher: Bencher, size: usize) {
    deliver(bencher, size, config::Compression::Gzip);
}

fn deliver(bencher: Bencher, size: usize, compression: config::Compression) {
    let dir = tempfile::tempdir().expect("a folder");
    let certs = Certs::make(dir.path());
    let options = Options {
        keep: false,
        ..Options::default()
    };
    let receiver = simulator::Devo::start(&certs, options);
    let mut sink = open(&receiver, &certs, compression);
    let mut batch = Batch::default();
    for event in events().iter().cycle() {
        if batch.text.len() >= size.min(1 << 20) {
            break;
        }
        batch.text.extend_from_slice(event);
        batch.records.push(Record {
            end: u32::try_from(batch.text.len()).expect("1 MiB"),
            identity: EventId::Key([0; 16]),
            late: None,
            is_plain: false,
        });
    }
    let batches = (size / batch.text.len()).max(1);
    let counter = BytesCount::new(batches * batch.text.len());
    bencher.counter(counter).bench_local(|| {
        for _ in 0..batches {
            sink.send(&batch).expect("sent");
        }
        sink.confirm().expect("confirmed");
    });
    if compression == config::Compression::Gzip {
        let wire: usize = receiver.connections().iter().map(|one| one.bytes).sum();
        let runs = receiver.connections().len();
        let ratio = (runs * batches * batch.text.len()) as f64 / wire as f64;
        println!("{ratio:.1} bytes of events in a byte on the wire");
    }
}

fn open(receiver: &simulator::Devo, certs: &Certs, compression: config::Compression) -> Devo {
    let http = config::HttpConfig {
        proxy: None,
        ca: None,
        tls: config::TlsLibrary::Rustls,
        timeout: Duration::from_secs(60),
    };
    let identity = config::ClientIdentity {
        cert: certs.client_cert(),
        key: certs.client_key(),
    };
    let (host, port) = receiver
        .address()
        .split_once(':')
        .map(|(host, port)| (host.to_owned(), port.parse().expect("a port")))
        .expect("an address");
    let trust = Trust::receiver(http.tls, &Roots::in_file(&certs.ca()), Some(&identity))
        .expect("certificates");
    Devo::new(devo::DevoOptions {
        network: Arc::new(Network::new(&http, |_| None).expect("no proxy")),
        trust,
        address: config::Address { host, port },
        server_name: "localhost".into(),
        hostname: "bench".into(),
        tag: "mail.proofpoint.tapsiem_v2.messagesblocked".into(),
        compression,
        confirm: config::Confirmation::Close,
        known: None,
        clock: Clock::of_the_machine(),
        shutdown: Shutdown::never(),
    })
}
