//! Proofpoint and a Devo receiver on this machine, to try the program without credentials: fixed
//! ports of the loopback, events of every service, and a configuration that collects them.
//!
//! `cargo run --release --example simulator`

#[path = "../tests/simulator/mod.rs"]
mod simulator;

use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration as Wait;

use clap::Parser;
use proofpull::service::SERVICES;
use simulator::isolation::visit;
use simulator::sample::{click, message};
use simulator::{
    Behaviour, Certs, Devo, Ends, Event, Fault, HOSTS, Kind, Options, Ports, Proofpoint, Request,
    Rng, StreamFault, pod_event, port, scenario,
};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A simulated Proofpoint (TAP, Isolation, PoD) and Devo receiver, for tests.
///
/// Not for production: its secrets are public, and it delivers nothing. It runs until it is stopped.
#[derive(Debug, Parser)]
#[command(name = "proofpull-simulator", version)]
struct Args {
    /// New folder for the configuration, certificates and secrets; by default, one that is removed
    /// at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// First of five ports: TAP, web isolation, URL isolation, PoD, Devo
    #[arg(long, value_name = "PORT", default_value_t = 18440, value_parser = clap::value_parser!(u16).range(1..=65531))]
    port: u16,
    /// Be the real hosts, over TLS at port 443 of 127.0.0.1 to 127.0.0.5: for a machine of its own, whose
    /// /etc/hosts gets the lines that are printed and which trusts DIR/ca.pem
    #[arg(long, conflicts_with = "port")]
    real_names: bool,
    /// Events of each service in an hour
    #[arg(long, value_name = "N", default_value_t = 60)]
    events_per_hour: u32,
    /// Hours of events that are there at the start
    #[arg(long, value_name = "HOURS", default_value_t = 6, value_parser = clap::value_parser!(u16).range(0..=160))]
    history: u16,
    /// How many of a hundred events of TAP and Isolation become visible late, up to 20 minutes
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    late: u8,
    /// How many of a hundred answers and connections go wrong
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    faults: u8,
    /// Print each line that the receiver gets
    #[arg(long)]
    print: bool,
}

/// Late events become visible within so many seconds.
const LATE: usize = 20 * 60;
/// Campaigns of a day.
const CAMPAIGNS: u64 = 48;
/// People of each report.
const PEOPLE: u64 = 300;
/// Serial numbers of each log stream begin at another one of these.
const SERIALS: u64 = 1_000_000_000_000;

fn main() -> Result<()> {
    let args = Args::parse();
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    let mut temporary = None;
    let dir = match &args.dir {
        Some(dir) => {
            let mut new = DirBuilder::new();
            let made = new.mode(0o700).create(dir);
            made.map_err(|error| format!("creating {}: {error}", dir.display()))?;
            dir.canonicalize()?
        }
        None => temporary.insert(tempfile::tempdir()?).path().to_owned(),
    };
    let certs = Certs::make(&dir);
    let (proofpoint, devo) = match args.real_names {
        true => Proofpoint::start_as_hosts(&certs)?,
        false => {
            let ports = Ports {
                tap: args.port,
                isolation: [args.port + 1, args.port + 2],
                pod: args.port + 3,
            };
            let devo = Devo::on(port(args.port + 4)?, &certs, Options::default());
            (Proofpoint::start(ports)?, devo)
        }
    };
    let mut world = World {
        rng: Rng::new(OffsetDateTime::now_utc().unix_timestamp_nanos() as u64),
        proofpoint,
        late: usize::from(args.late),
        serials: [SERIALS, 2 * SERIALS, 3 * SERIALS],
        isolated: 0,
    };
    let now = OffsetDateTime::now_utc().truncate_to_second();
    let start = now - Duration::hours(args.history.into());
    world.fill(start, now, args.events_per_hour as usize);
    world.go_wrong(usize::from(args.faults), &devo);

    let start = start.format(&Rfc3339)?;
    let services = SERVICES.iter().map(|service| {
        let lines = match Kind::of(service.name) {
            // a day back, whatever the history is
            Kind::Campaigns | Kind::People { .. } => String::new(),
            _ => format!("start_time = {start:?}\n"),
        };
        (service.name, lines)
    });
    let config = world.proofpoint.configure(&dir, &certs, &devo, services)?;
    let Proofpoint {
        tap,
        isolation: [web, url],
        pod,
    } = &world.proofpoint;
    println!("Simulated, not for production; stop it with Ctrl-C.\n");
    println!("TAP            {}", tap.url());
    println!("web isolation  {}", web.url());
    println!("URL isolation  {}", url.url());
    println!("PoD            {}", pod.url());
    println!("Devo           {}", devo.address());
    if args.real_names {
        println!("\nFor /etc/hosts:\n");
        for (host, address) in HOSTS {
            println!("{address} {host}");
        }
    }
    println!("\nCollect from it with, for example:\n");
    let shown = config.display();
    println!("  proofpull run tap-messages-blocked --config {shown}\n");
    world.live(&args, &devo, &stopped);
    Ok(())
}

/// What happens at Proofpoint.
struct World {
    rng: Rng,
    proofpoint: Proofpoint,
    /// Of a hundred events.
    late: usize,
    /// The next number of each log stream.
    serials: [u64; 3],
    /// How many visits there were.
    isolated: u64,
}

impl World {
    /// Events from `from` to `to`, so many in an hour of each service.
    fn fill(&mut self, from: OffsetDateTime, to: OffsetDateTime, per_hour: usize) {
        for (array, mut event) in scenario(&mut self.rng, from, to, per_hour) {
            event.late = false;
            self.proofpoint.tap.add(array, event);
        }
        let count = (to - from).whole_hours() * per_hour as i64;
        for number in 0..count {
            let time = from + (to - from) * (number as f64 / count as f64);
            self.visits(time);
        }
        self.reports(to);
        let hour = to.truncate_to_hour();
        for (stream, serial) in simulator::STREAMS.into_iter().zip(&mut self.serials) {
            let archived = (from.truncate_to_hour(), hour);
            let pod = &self.proofpoint.pod;
            *serial = pod.fill(stream, archived, per_hour as u64, *serial);
        }
    }

    /// The campaigns of the day before this time, and the people of its reports.
    fn reports(&mut self, time: OffsetDateTime) {
        let tap = &self.proofpoint.tap;
        for number in 0..CAMPAIGNS {
            let at = time - Duration::DAY * (number as f64 / CAMPAIGNS as f64);
            tap.update_campaign(&self.rng.uuid(), number, at);
        }
        for (report, first) in [("vap", 0), ("top-clickers", PEOPLE)] {
            for person in first..first + PEOPLE {
                tap.add_person(report, person, time - Duration::DAY);
            }
        }
    }

    /// Goes on until stopped: events happen at an even rate, and what arrives is counted.
    fn live(&mut self, args: &Args, devo: &Devo, stopped: &AtomicBool) {
        const TICK: Wait = Wait::from_millis(200);
        const REPORT: Wait = Wait::from_secs(10);
        let (mut due, mut arrived, mut told) = (0.0, 0, Wait::ZERO);
        while !stopped.load(Ordering::Relaxed) {
            thread::sleep(TICK);
            due += f64::from(args.events_per_hour) / 3600.0 * TICK.as_secs_f64();
            while due >= 1.0 {
                self.happens();
                due -= 1.0;
            }
            let lines = devo.take_lines();
            arrived += lines.len();
            for line in lines.iter().filter(|_| args.print) {
                println!("{}", String::from_utf8_lossy(line));
            }
            told += TICK;
            if told >= REPORT && !args.print && arrived > 0 {
                println!("{arrived} events arrived at Devo");
                arrived = 0;
            }
            told = if told >= REPORT { Wait::ZERO } else { told };
        }
    }

    /// One event of each service, now.
    fn happens(&mut self) {
        let now = OffsetDateTime::now_utc();
        for service in SERVICES {
            if let Kind::Tap { array } = Kind::of(service.name) {
                let serial = self.rng.bits() >> 1;
                let make = if array.starts_with("clicks") {
                    click
                } else {
                    message
                };
                let body = make(&mut self.rng, now, serial, "dana.reyes@examplecorp.example");
                let event = self.maybe_late(Event::new(now, body));
                self.proofpoint.tap.add(array, event);
            }
        }
        self.visits(now);
        for (stream, serial) in simulator::STREAMS.into_iter().zip(&mut self.serials) {
            let event = pod_event(stream, &mut self.rng, now, *serial);
            self.proofpoint.pod.happen(stream, now, event);
            *serial += 1;
        }
    }

    /// One visit of each product of Isolation.
    fn visits(&mut self, time: OffsetDateTime) {
        for product in 0..self.proofpoint.isolation.len() {
            self.isolated += 1;
            let body = visit(&mut self.rng, time, self.isolated);
            let event = self.maybe_late(Event::new(time, body));
            self.proofpoint.isolation[product].add(event);
        }
    }

    fn maybe_late(&mut self, event: Event) -> Event {
        if !self.rng.chance(self.late) {
            return event;
        }
        let seconds = 1 + self.rng.below(LATE) as i64;
        let visible = event.created + Duration::seconds(seconds);
        event.visible_from(visible)
    }

    /// From now on so many of a hundred answers and connections go wrong.
    fn go_wrong(&mut self, percent: usize, devo: &Devo) {
        let mut chance = || Rng::new(self.rng.bits());
        let of_http =
            |mut rng: Rng| move |_: &Request, _| rng.chance(percent).then(|| http_fault(&mut rng));
        self.proofpoint.tap.script(of_http(chance()));
        for isolation in &self.proofpoint.isolation {
            isolation.script(of_http(chance()));
        }
        let mut rng = chance();
        let of_streams = move |_: &_, _| rng.chance(percent).then(|| stream_fault(&mut rng));
        self.proofpoint.pod.script(of_streams);
        let mut rng = chance();
        devo.behave(move |_| match rng.chance(percent) {
            true => receiver_fault(&mut rng),
            false => Behaviour::Normal,
        });
    }
}

fn http_fault(rng: &mut Rng) -> Fault {
    match rng.below(4) {
        0 => Fault::status(503, "try again later"),
        1 => Fault::Reset,
        2 => Fault::CutBody {
            at: rng.below(5_000),
        },
        _ => Fault::Stall {
            wait: Wait::from_secs(2),
        },
    }
}

fn stream_fault(rng: &mut Rng) -> StreamFault {
    match rng.below(3) {
        0 => StreamFault::Status(503, "try again later"),
        1 => StreamFault::After(rng.below(100), Ends::Reset),
        _ => StreamFault::After(rng.below(100), Ends::Code(1001)),
    }
}

fn receiver_fault(rng: &mut Rng) -> Behaviour {
    match rng.below(3) {
        0 => Behaviour::Refuse,
        1 => Behaviour::ResetAfter(rng.below(50_000)),
        _ => Behaviour::CloseAfter(rng.below(50_000)),
    }
}
