//! The bytes on the wire, inside TLS.
