//! Addresses for clusters: a loopback address each, so that the port asked for is kept.
//!
//! RDS gives a cluster a name and callers read it from Describe. A name here
//! would need a resolver on every machine that rehearses, so Describe answers
//! with an address instead, out of 127.0.0.0/8. It belongs to the cluster's
//! identifier, as the name does on RDS: a cluster renamed to `orders-prod` is
//! from then on found where `orders-prod` was.
//!
//! Systems that give 127.0.0.1 only (macOS) use one host and a port each.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How clusters are told apart on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPlan {
    /// A loopback address per cluster; the port is the one asked for.
    OnePerCluster,
    /// One address for all; the port is the one asked for if it is free.
    OneHost(IpAddr),
}

/// Bound on each address in use, so that another process with the same seed passes it over.
const CLAIM_PORT: u16 = 45_431;

/// Hands out addresses and remembers them.
#[derive(Debug)]
pub struct Addresses {
    plan: AddressPlan,
    really_bind: bool,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    random: StdRng,
    by_name: BTreeMap<String, Claim>,
}

#[derive(Debug)]
struct Claim {
    address: SocketAddr,
    // Held, never read: it keeps the address ours.
    _hold: Option<TcpListener>,
}

impl Addresses {
    /// Addresses from this seed. With `really_bind` off nothing is checked, for worlds without servers.
    pub fn new(plan: AddressPlan, seed: u64, really_bind: bool) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            plan,
            really_bind,
            taken: Mutex::new(Taken {
                random,
                by_name: BTreeMap::new(),
            }),
        }
    }

    /// The address of this name; the first call decides, with this port if it can be had.
    pub fn of(&self, name: &str, port: u16) -> SocketAddr {
        let mut taken = self
            .taken
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(claim) = taken.by_name.get(name) {
            // The port belongs to the cluster, the address to its name.
            return match self.plan {
                AddressPlan::OnePerCluster => SocketAddr::new(claim.address.ip(), port),
                AddressPlan::OneHost(_) => claim.address,
            };
        }
        let claim = match self.plan {
            AddressPlan::OnePerCluster => self.own_address(&mut taken.random, port),
            AddressPlan::OneHost(host) => one_host(&taken, host, port),
        };
        let address = claim.address;
        taken.by_name.insert(name.to_owned(), claim);
        address
    }

    fn own_address(&self, random: &mut StdRng, port: u16) -> Claim {
        // With sixteen million addresses a second try is rare; the cap keeps a machine without 127/8 from hanging.
        for _ in 0..64 {
            let ip = IpAddr::V4(Ipv4Addr::new(
                127,
                random.random_range(1..=254),
                random.random_range(0..=255),
                random.random_range(1..=254),
            ));
            let address = SocketAddr::new(ip, port);
            if !self.really_bind {
                return Claim {
                    address,
                    _hold: None,
                };
            }
            if let Ok(hold) = TcpListener::bind((ip, CLAIM_PORT))
                && is_free(address)
            {
                return Claim {
                    address,
                    _hold: Some(hold),
                };
            }
        }
        tracing::warn!(
            "no loopback address of its own could be bound: 127.0.0.1 is used (see AddressPlan::OneHost)"
        );
        Claim {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            _hold: None,
        }
    }
}

/// Whether nobody listens there. Asked by a connection and not by a listener of our own: a process that is being started
/// at this moment would keep that open, and the server could not have its port.
fn is_free(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn one_host(taken: &Taken, host: IpAddr, port: u16) -> Claim {
    let wanted = SocketAddr::new(host, port);
    let used = taken.by_name.values().any(|claim| claim.address == wanted);
    let free =
        |address: SocketAddr| TcpListener::bind(address).and_then(|listener| listener.local_addr());
    let address = match free(wanted) {
        Ok(address) if !used => address,
        _ => free(SocketAddr::new(host, 0)).unwrap_or(wanted),
    };
    Claim {
        address,
        _hold: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_worlds_with_one_seed_do_not_meet() {
        let one = Addresses::new(AddressPlan::OnePerCluster, 7, true);
        let other = Addresses::new(AddressPlan::OnePerCluster, 7, true);
        let first = one.of("orders", 5432);
        assert_eq!(first.port(), 5432);
        assert_eq!(one.of("orders", 5432), first, "an address stays");
        assert_ne!(other.of("orders", 5432), first);
        assert_ne!(one.of("billing", 5432).ip(), first.ip());
    }

    #[test]
    fn an_address_where_somebody_listens_is_passed_over() {
        let of = || Addresses::new(AddressPlan::OnePerCluster, 8, true);
        let wanted = of().of("orders", 45_998);
        let _somebody = TcpListener::bind(wanted).unwrap();
        assert_ne!(of().of("orders", 45_998), wanted);
    }

    #[test]
    fn on_one_host_the_second_cluster_gets_another_port() {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let addresses = Addresses::new(AddressPlan::OneHost(host), 7, true);
        let (first, second) = (
            addresses.of("orders", 45_999),
            addresses.of("billing", 45_999),
        );
        assert_eq!(first.ip(), second.ip());
        assert_ne!(first.port(), second.port());
    }
}
