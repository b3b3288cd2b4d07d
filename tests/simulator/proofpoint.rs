//! Proofpoint as a whole, TAP, both products of Isolation and PoD, and a configuration that collects
//! from it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::certs::Certs;
use super::devo::{Devo, Options};
use super::isolation::{API_KEY, Isolation};
use super::listen::{port, socket};
use super::pod::{CLUSTER, Pod, TOKEN};
use super::tap::{PRINCIPAL, SECRET, Tap};

/// The simulated APIs.
pub struct Proofpoint {
    /// TAP.
    pub tap: Tap,
    /// Of the web and of URLs.
    pub isolation: [Isolation; 2],
    /// PoD.
    pub pod: Pod,
}

/// Ports of the loopback; 0 is a free one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// TAP.
    pub tap: u16,
    /// Both of Isolation.
    pub isolation: [u16; 2],
    /// PoD.
    pub pod: u16,
}

/// The hosts of Devo, TAP, both of Isolation and PoD, and the address of the loopback that stands for each.
pub const HOSTS: [(&str, Ipv4Addr); 5] = [
    ("collector-us.devo.io", Ipv4Addr::new(127, 0, 0, 1)),
    ("tap-api-v2.proofpoint.com", Ipv4Addr::new(127, 0, 0, 2)),
    ("proofpointisolation.com", Ipv4Addr::new(127, 0, 0, 3)),
    ("urlisolation.com", Ipv4Addr::new(127, 0, 0, 4)),
    ("logstream.proofpoint.com", Ipv4Addr::new(127, 0, 0, 5)),
];

/// A service and the lines of its table.
pub type Section = (&'static str, String);

impl Proofpoint {
    /// Starts all of them without events.
    pub fn start(ports: Ports) -> io::Result<Self> {
        let [web, url] = ports.isolation;
        Ok(Self {
            tap: Tap::on(port(ports.tap)?),
            isolation: [Isolation::on(port(web)?), Isolation::on(port(url)?)],
            pod: Pod::on(port(ports.pod)?),
        })
    }

    /// Starts all of them and a receiver over TLS as [`HOSTS`], at port 443 of their addresses.
    pub fn start_as_hosts(certs: &Certs) -> io::Result<(Self, Devo)> {
        const HTTPS: u16 = 443;
        let pair = certs.server_for_hosts(&HOSTS.map(|(host, _)| host));
        let [devo, tap, web, url, pod] = HOSTS;
        let isolation = |(host, address): (&str, Ipv4Addr)| -> io::Result<Isolation> {
            Ok(Isolation::on_tls(socket(address, HTTPS)?, host, &pair))
        };
        let proofpoint = Self {
            tap: Tap::on_tls(socket(tap.1, HTTPS)?, tap.0, &pair),
            isolation: [isolation(web)?, isolation(url)?],
            pod: Pod::on_tls(socket(pod.1, HTTPS)?, pod.0, &pair),
        };
        let options = Options {
            server: Some(pair.clone()),
            ..Options::default()
        };
        let devo = Devo::on(socket(devo.1, HTTPS)?, certs, options);
        Ok((proofpoint, devo))
    }

    /// The product of Isolation that has the events of a service.
    pub fn isolation_of(&self, service: &str) -> &Isolation {
        &self.isolation[usize::from(service == "isolation-url")]
    }

    /// Writes a configuration of these services, its secrets and its state folder into `dir`, which
    /// has the certificates.
    pub fn configure(
        &self,
        dir: &Path,
        certs: &Certs,
        devo: &Devo,
        services: impl IntoIterator<Item = Section>,
    ) -> io::Result<PathBuf> {
        let mut text = format!(
            "state_dir = \"state\"\n\n\
             [devo]\naddress = {:?}\nchain = {:?}\ncert = {:?}\nkey = {:?}\n\n\
             [tap]\nbase_url = {:?}\nprincipal = {PRINCIPAL:?}\nsecret = {{ file = \"tap.secret\" }}\n\n\
             [isolation]\napi_key = {{ file = \"isolation.key\" }}\n\n\
             [pod]\nbase_url = {:?}\ncluster_id = {CLUSTER:?}\napi_key = {{ file = \"pod.key\" }}\n",
            devo.address(),
            certs.ca(),
            certs.client_cert(),
            certs.client_key(),
            self.tap.url(),
            self.pod.url(),
        );
        for (service, lines) in services {
            let url = match service.starts_with("isolation-") {
                true => format!("url = {:?}\n", self.isolation_of(service).url()),
                false => String::new(),
            };
            text += &format!("\n[services.{service}]\n{url}{lines}");
        }
        for (name, secret) in [
            ("tap.secret", SECRET),
            ("isolation.key", API_KEY),
            ("pod.key", TOKEN),
        ] {
            private(&dir.join(name), secret)?;
        }
        std::fs::create_dir(dir.join("state"))?;
        let path = dir.join("proofpull.toml");
        private(&path, &text)?;
        Ok(path)
    }
}

/// A new file that only its owner reads.
fn private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new();
    file.write(true).create_new(true).mode(0o600);
    file.open(path)?.write_all(text.as_bytes())
}
