//! Lets aya copy the shared structures to and from kernel maps.

use super::*;

macro_rules! plain {
    ($($name:ident),*) => {
        $(
            // SAFETY: `repr(C)`, integers only, no implicit padding (the sizes are asserted), so every
            // bit pattern is a value and every byte is initialised.
            #[expect(unsafe_code, reason = "aya::Pod is an unsafe marker")]
            unsafe impl aya::Pod for $name {}
        )*
    };
}

plain!(
    Address,
    Config,
    Workload,
    Endpoint,
    ServiceKey,
    Service,
    BackendKey,
    Backend,
    VerdictKey,
    Verdict,
    NetworkKey,
    PortKey,
    ListenerKey,
    Connection,
    SourceKey,
    TupleKey,
    Voucher,
    Event
);
