//! Picks each node's ports before it starts, so that it has the same ones whenever it starts again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::telemetry::clock;

/// Of the first node's public listener, when the developer says nothing.
const HTTP_BASE: u16 = 8080;
/// Of the first node's operators' listener.
const ADMIN_BASE: u16 = 9090;
/// Of the first node's listener for other nodes.
const CLUSTER_BASE: u16 = 7946;
/// Where free ports are looked for: below those that systems give to outgoing connections, one of which could
/// otherwise hold a node's port while the node is down.
const FREE: std::ops::Range<u16> = 20_000..32_000;
/// Looks before giving up: more than a machine with thousands of listeners needs.
const LOOKS_MAX: usize = 256;

/// Where one node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) cluster: SocketAddr,
}

/// Holds what it picked until it is dropped, so that nothing is picked twice.
#[derive(Debug, Default)]
pub(super) struct Picker {
    held: Vec<TcpListener>,
    /// Ports of nodes that are down just now.
    reserved: Vec<u16>,
    /// Usual ports that were taken.
    pub(super) taken: Vec<u16>,
}

impl Picker {
    pub(super) fn new(reserved: Vec<u16>) -> Self {
        Self { reserved, ..Self::default() }
    }

    /// For the node of this number, from 1. A public port that the developer asked for is had, or it is told; 0 asks
    /// for free ones throughout.
    pub(super) fn pick(&mut self, number: u16, base: Option<u16>) -> Result<Ports, String> {
        let nth = |base: u16| base.checked_add(number - 1);
        if base == Some(0) {
            return Ok(Ports { http: self.free()?, admin: self.free()?, cluster: self.free()? });
        }
        let http = match base {
            None => self.usual(nth(HTTP_BASE))?,
            Some(base) => nth(base).and_then(|port| self.hold(port)).ok_or_else(|| {
                format!("port {} (--port {base}, node {number}) is taken", u32::from(base) + u32::from(number) - 1)
            })?,
        };
        Ok(Ports { http, admin: self.usual(nth(ADMIN_BASE))?, cluster: self.usual(nth(CLUSTER_BASE))? })
    }

    fn usual(&mut self, port: Option<u16>) -> Result<SocketAddr, String> {
        if let Some(address) = port.and_then(|port| self.hold(port)) {
            return Ok(address);
        }
        self.taken.extend(port);
        self.free()
    }

    fn free(&mut self) -> Result<SocketAddr, String> {
        let mut looks =
            (0..LOOKS_MAX).map(|_| FREE.start + (clock::random() % u128::from(FREE.end - FREE.start)) as u16);
        looks.find_map(|port| self.hold(port)).ok_or_else(|| "no free port was found".to_owned())
    }

    fn hold(&mut self, port: u16) -> Option<SocketAddr> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if self.reserved.contains(&port) {
            return None;
        }
        self.held.push(TcpListener::bind(address).ok()?);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_picked_twice_and_a_wish_that_cannot_be_had_is_told() {
        let mut picker = Picker::default();
        let mut all = Vec::new();
        for number in 1..=9 {
            let Ports { http, admin, cluster } = picker.pick(number, Some(0)).unwrap();
            all.extend([http, admin, cluster]);
        }
        let taken = all[0].port();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 27);
        let why = Picker::default().pick(1, Some(taken)).unwrap_err();
        assert_eq!(why, format!("port {taken} (--port {taken}, node 1) is taken"));
        drop(picker);
        let mut picker = Picker::new(vec![taken]);
        assert!(picker.hold(taken).is_none(), "of a node that is down");
        assert!(Picker::default().pick(3, Some(u16::MAX)).is_err(), "beyond the last port");
    }

    #[test]
    fn a_usual_port_that_is_taken_makes_way_for_a_free_one() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, other)).unwrap();
        let mut picker = Picker::default();
        let address = picker.usual(Some(other)).unwrap();
        assert!(address.port() != other && picker.taken == [other]);
        drop(held);
    }
}
