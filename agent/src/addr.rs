//! Addresses with roles, so that no two of them can be mixed up across a module border.
//!
//! Entry points are the newtypes; this module knows nothing of sockets, pods or policy.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

macro_rules! socket_role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SocketAddr);

        impl $name {
            /// Wraps `address`; an IPv4-mapped IPv6 address becomes its IPv4 form (RFC 4291 §2.5.5.2).
            pub fn new(address: SocketAddr) -> Self {
                Self(canonical(address))
            }

            /// The address and port.
            pub fn socket(self) -> SocketAddr {
                self.0
            }

            /// The address without its port.
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            /// The port, in host order.
            pub fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

socket_role!(
    /// The address that the application asked for, before capture changed it.
    OriginalDst
);
socket_role!(
    /// The address from which a connection comes.
    ClientAddr
);
socket_role!(
    /// The address of one endpoint of a service, or of a pod dialled by its own address.
    EndpointAddr
);

/// `address` with an IPv4-mapped IPv6 address replaced by its IPv4 form.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The 16 octets under which the kernel maps know `ip`: IPv4 in its IPv6-mapped form.
pub fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address behind the 16 octets of a kernel map.
pub fn from_octets(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().expect("an address");
        assert_eq!(OriginalDst::new(mapped).to_string(), "10.0.0.1:80");
    }

    #[test]
    fn octets_go_both_ways() {
        for text in ["10.244.1.2", "fd10::2", "0.0.0.0", "::1"] {
            let ip: IpAddr = text.parse().expect("an address");
            assert_eq!(from_octets(octets(ip)), ip);
        }
    }
}
