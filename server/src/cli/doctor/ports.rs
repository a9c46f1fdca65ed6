//! The addresses to listen on: whether they are this machine's and free, as the system's own tables say. Nothing is bound: a server that
//! starts at that moment would be refused.
//!
//! Source: proc(5), `/proc/net/tcp`, `/proc/net/tcp6`, `/proc/net/if_inet6`; `net/ipv4/fib_trie.c` of the Linux kernel.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cli::doctor::{Finding, Findings, Level};
use crate::cli::exit::Exit;
use crate::config::Settings;

/// * `held` - a server is at work on the data: then its addresses are taken, as they should be.
pub(super) fn findings(settings: &Settings, held: bool) -> Vec<Finding> {
    let mut findings = Findings::new(Exit::Address);
    let tables = Tables::read();
    let ops = settings.ops.listen.map(|address| ("ops.listen", address));
    for (key, address) in [
        ("listen.products", settings.listen_products),
        ("listen.staff", settings.listen_staff),
    ]
    .into_iter()
    .chain(ops)
    {
        port(&mut findings, &tables, key, address, held);
    }
    findings.all
}

fn port(findings: &mut Findings, tables: &Tables, key: &str, address: SocketAddr, held: bool) {
    if tables.has(address.ip()) == Some(false) {
        return findings.add(
            "ports",
            Level::Problem,
            format_args!("{key}: {address} is no address of this machine"),
            format_args!("set {key} to an address of this machine"),
        );
    }
    match tables.is_taken(address) {
        None => findings.add(
            "ports",
            Level::Note,
            format_args!("{key}: whether {address} is free was not checked: this system has no /proc/net/tcp"),
            "see what listens there with the system's own tools",
        ),
        Some(true) if held => {
            findings.ok("ports", format_args!("{key}: {address} is in use, by the server"));
        }
        Some(true) => findings.add(
            "ports",
            Level::Problem,
            format_args!("{key}: {address} is taken by another process"),
            format_args!("see whose it is (ss -ltnp), or set {key} to another address"),
        ),
        Some(false) if held && address.port() != 0 => findings.add(
            "ports",
            Level::Note,
            format_args!("{key}: nobody listens on {address}, though a server is at work"),
            "its flags or environment name another address, or its configuration has changed since: restart it",
        ),
        Some(false) if tables.needs_right(address.port()) => findings.add(
            "ports",
            Level::Warning,
            format_args!("{key}: {address} is free, but its port is one of the system's"),
            format_args!(
                "give the server's process CAP_NET_BIND_SERVICE, or set {key} to a port above 1023"
            ),
        ),
        Some(false) => findings.ok("ports", format_args!("{key}: {address} is free")),
    }
}

/// What the system says about its sockets and addresses; what it does not say is not known.
#[derive(Debug, Default)]
struct Tables {
    tcp: Option<String>,
    tcp6: Option<String>,
    routes: Option<String>,
    interfaces6: Option<String>,
    /// Whether addresses may be listened on that are not this machine's.
    takes_foreign: bool,
    /// The first port that needs no right, where this process lacks the right.
    first_free_port: u16,
}

impl Tables {
    fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let number = |path: &str| read(path)?.trim().parse().ok();
        let may_bind = read("/proc/self/status").is_none_or(|status| has_bind_right(&status));
        Self {
            tcp: read("/proc/net/tcp"),
            tcp6: read("/proc/net/tcp6"),
            routes: read("/proc/net/fib_trie"),
            interfaces6: read("/proc/net/if_inet6"),
            takes_foreign: ["ipv4", "ipv6"].iter().any(|family| {
                number(&format!("/proc/sys/net/{family}/ip_nonlocal_bind")) == Some(1)
            }),
            first_free_port: match may_bind {
                true => 0,
                false => number("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or(1024),
            },
        }
    }

    /// Whether a socket listens there already; `None` where the system does not say. Port 0 is any free one.
    fn is_taken(&self, address: SocketAddr) -> Option<bool> {
        if self.tcp.is_none() && self.tcp6.is_none() {
            return None;
        }
        let tables = [&self.tcp, &self.tcp6].into_iter().flatten();
        let mut listening = tables.flat_map(|table| table.lines().filter_map(listens_on));
        Some(address.port() != 0 && listening.any(|other| collide(address, other)))
    }

    /// Whether the address is this machine's; `None` where the system does not say.
    fn has(&self, ip: IpAddr) -> Option<bool> {
        if ip.is_unspecified() || ip.is_loopback() || self.takes_foreign {
            return Some(true);
        }
        match ip {
            IpAddr::V4(ip) => has_route(self.routes.as_deref()?, ip),
            IpAddr::V6(ip) => {
                let hex = format!("{:032x}", u128::from(ip));
                let mut lines = self.interfaces6.as_deref()?.lines();
                Some(lines.any(|line| line.starts_with(&hex)))
            }
        }
    }

    fn needs_right(&self, port: u16) -> bool {
        port != 0 && port < self.first_free_port
    }
}

/// The address of a line of `/proc/net/tcp` or `tcp6`, if the socket listens.
fn listens_on(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_whitespace().skip(1);
    let (ip, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let bytes = data_encoding::HEXUPPER.decode(ip.as_bytes()).ok()?;
    // Words of four bytes, each printed as a number in the order of this machine.
    let words = bytes.chunks_exact(4).filter_map(|word| word.first_chunk());
    let bytes: Vec<u8> = words
        .flat_map(|word| u32::from_be_bytes(*word).to_ne_bytes())
        .collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

/// Whether both cannot be listened on at once. A socket on `::` takes the addresses of IPv4 as well, unless it was told not to, which the
/// tables do not show.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let everything = |ip: IpAddr| ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let same_family = a.is_ipv4() == b.is_ipv4();
    one.port() == other.port()
        && (a == b
            || everything(a)
            || everything(b)
            || (same_family && (a.is_unspecified() || b.is_unspecified())))
}

/// Whether `fib_trie` has the address as one of this machine's: `|-- ADDRESS`, and below it `/32 host LOCAL`. `None` for what is no such
/// table.
fn has_route(trie: &str, ip: Ipv4Addr) -> Option<bool> {
    let leaf = format!("|-- {ip}");
    let mut at_leaf = false;
    let mut is_trie = false;
    for line in trie.lines().map(str::trim) {
        if line.starts_with("|--") {
            is_trie = true;
            at_leaf = line == leaf;
        } else if at_leaf && line == "/32 host LOCAL" {
            return Some(true);
        }
    }
    is_trie.then_some(false)
}

/// Source: capabilities(7), CAP_NET_BIND_SERVICE is bit 10 of `CapEff`.
fn has_bind_right(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_none_or(|bits| bits >> 10 & 1 == 1)
}

/// The state of a socket that listens.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1D13 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0
   1: 00000000:1D14 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0
   2: 0100007F:1D15 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000001000000:1D16 00000000000000000000000000000000:0000 0A 00000000
   1: 00000000000000000000000000000000:1D17 00000000000000000000000000000000:0000 0A 00000000
";
    const ROUTES: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.7
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_port_is_taken_where_a_socket_listens_that_would_collide() {
        let tables = Tables {
            tcp: Some(TCP.to_owned()),
            tcp6: Some(TCP6.to_owned()),
            ..Tables::default()
        };
        for (address, taken) in [
            ("127.0.0.1:7443", true),
            ("0.0.0.0:7443", true),
            ("[::]:7443", true),
            ("127.0.0.2:7443", false),
            ("[::1]:7443", false),
            ("10.0.0.7:7444", true),
            // A connection of somebody's, and no listener.
            ("127.0.0.1:7445", false),
            ("[::1]:7446", true),
            ("127.0.0.1:7446", false),
            ("127.0.0.1:7447", true),
            ("127.0.0.1:0", false),
        ] {
            let found = tables.is_taken(address.parse().unwrap());
            assert_eq!(found, Some(taken), "{address}");
        }
    }

    #[test]
    fn what_the_system_does_not_say_is_not_guessed() {
        let address: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let none = Tables::default();
        assert_eq!(
            (none.is_taken(address), none.has(address.ip())),
            (None, None)
        );
        let mut findings = Findings::new(Exit::Address);
        port(&mut findings, &none, "listen.staff", address, false);
        let one = &findings.all[0];
        assert_eq!(one.level, Level::Note);
        assert!(one.found.contains("not checked"), "{}", one.found);
    }

    #[test]
    fn only_addresses_of_this_machine_and_ports_of_its_own_will_do() {
        let tables = Tables {
            routes: Some(ROUTES.to_owned()),
            interfaces6: Some("20010db8000000000000000000000007 02 40 00 80 eth0\n".to_owned()),
            first_free_port: 1024,
            ..Tables::default()
        };
        for (ip, ours) in [
            ("10.0.0.7", true),
            ("10.0.0.255", false),
            ("10.0.0.8", false),
            ("127.0.0.9", true),
            ("0.0.0.0", true),
            ("2001:db8::7", true),
            ("2001:db8::8", false),
        ] {
            assert_eq!(tables.has(ip.parse().unwrap()), Some(ours), "{ip}");
        }
        let rights = [0, 443, 1024].map(|port| tables.needs_right(port));
        assert_eq!(rights, [false, true, false]);
        assert!(has_bind_right("Name:\tx\nCapEff:\t0000000000000400\n"));
        assert!(!has_bind_right("Name:\tx\nCapEff:\t0000000000000000\n"));
    }
}
