//! Ports that nobody uses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// Below the range from which Linux takes the ports of outgoing connections, so that no client takes one
/// between our look and the server's start.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;
/// Blocks start at multiples of this.
const STRIDE: u16 = 8;

/// The next block to look at, shared by the tests of this process.
static NEXT: Mutex<Option<u16>> = Mutex::new(None);

/// Finds `count` consecutive ports that are free on loopback, and returns the first. No two calls in this
/// process return the same ports; processes that run at the same time start looking at different places.
///
/// # Panics
///
/// If there are none, or more than a block are asked for.
pub fn free_ports(count: u16) -> u16 {
    let blocks = count.div_ceil(STRIDE);
    let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let places = (LAST - FIRST) / STRIDE;
    let mut place = next.unwrap_or_else(|| {
        let spread = u32::from(places);
        u16::try_from(std::process::id().wrapping_mul(97) % spread).expect("it is below `places`")
    });
    for _ in 0..places {
        if place + blocks > places {
            place = 0;
        }
        let port = FIRST + place * STRIDE;
        place += blocks;
        if (port..port + count).all(is_free) {
            *next = Some(place);
            return port;
        }
    }
    panic!("no {count} consecutive free ports between {FIRST} and {LAST}");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_free_and_do_not_overlap() {
        let first = free_ports(STRIDE + 1);
        let second = free_ports(4);
        assert!((first..=first + STRIDE).all(|port| !(second..second + 4).contains(&port)));
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, second)).expect("it is free");
        assert!(!is_free(second));
        drop(taken);
    }
}
