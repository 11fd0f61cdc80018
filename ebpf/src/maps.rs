//! The maps, and the few operations on them that every program shares.
//!
//! Which of them the agent fills: `CONFIG`, `WORKLOADS`, `ENDPOINTS`, `SERVICES`, `BACKENDS`, `VERDICTS`,
//! `PLAINTEXT_SOURCES`, `SKIPPED_NETWORKS`, `PORT_RULES`, `NODE_ADDRESSES`, `LISTENERS`, `AGENT_SOCKETS`.
//! The programs fill the rest.

use core::{ffi::c_void, ptr::null_mut};

use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, bpf_sock},
    btf_maps::SkStorage,
    helpers::generated::{
        bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_map_lookup_elem, bpf_sk_release, bpf_sk_storage_delete,
        bpf_sk_storage_get,
    },
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash, lpm_trie::Key},
};
use weir_common::*;

/// `BPF_SK_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;

#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
pub static WORKLOADS: HashMap<u64, Workload> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);
#[map]
pub static ENDPOINTS: HashMap<Address, Endpoint> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);
#[map]
pub static SERVICES: HashMap<ServiceKey, Service> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub static BACKENDS: HashMap<BackendKey, Backend> = HashMap::with_max_entries(1_048_576, BPF_F_NO_PREALLOC);
#[map]
pub static VERDICTS: HashMap<VerdictKey, Verdict> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);
#[map]
pub static PLAINTEXT_SOURCES: LpmTrie<NetworkKey, u32> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub static SKIPPED_NETWORKS: LpmTrie<NetworkKey, u32> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub static PORT_RULES: HashMap<PortKey, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub static NODE_ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(256, BPF_F_NO_PREALLOC);
#[map]
pub static LISTENERS: SockHash<ListenerKey> = SockHash::with_max_entries(65_536, 0);
#[map]
pub static LISTENING: HashMap<PortKey, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);
#[map]
pub static REDIRECTED: LruHashMap<SourceKey, Connection> = LruHashMap::with_max_entries(16_384, 0);
#[map]
pub static VOUCHED: LruHashMap<TupleKey, Voucher> = LruHashMap::with_max_entries(32_768, 0);
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 19, 0);
#[btf_map]
pub static CONNECTIONS: SkStorage<Connection> = SkStorage::new();
#[btf_map]
pub static AGENT_SOCKETS: SkStorage<u32> = SkStorage::new();

/// Cookie of the namespace that this copy of `weir_steer` is attached to. The context of an SK_LOOKUP
/// program does not tell its namespace, so each pod's copy is loaded with its own.
#[unsafe(no_mangle)]
pub static NETNS_COOKIE: Global<u64> = Global::new(0);

/// Whether the kernel has bpf_set_retval (5.18). Without it a refused connect(2) says EPERM.
#[unsafe(no_mangle)]
pub static HAVE_SET_RETVAL: Global<u32> = Global::new(1);

/// The configuration; `None` before the agent wrote it, which the verifier cannot rule out.
#[inline(always)]
pub fn settings() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Whether enrolled pods are to be let through because no agent has given a sign of life.
#[inline(always)]
pub fn is_open(settings: &Config) -> bool {
    settings.flags & config::OPEN != 0
        && now_ns().wrapping_sub(settings.heartbeat_ns) > settings.stale_after_ns
}

/// Whether an agent takes the connections of `netns`: a listener leaves the map when its process closes it, by
/// whatever death. Without one nobody judges anew what was once allowed.
#[inline(always)]
pub fn has_agent(netns: u64) -> bool {
    let key = ListenerKey { netns, kind: listener::OUTBOUND, worker: 0 };
    let map = core::ptr::from_ref(&LISTENERS).cast_mut().cast();
    // SAFETY: the map and its key; the reference that the socket comes with is given back.
    unsafe {
        let socket = bpf_map_lookup_elem(map, (&raw const key).cast());
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket);
    }
    true
}

/// Adds one to a counter and gives what it was on this CPU.
#[inline(always)]
pub fn count(index: u32) -> u64 {
    let Some(cell) = COUNTERS.get_ptr_mut(index) else { return 0 };
    // SAFETY: the cell is this CPU's own, and programs of these types do not interrupt each other's
    // read-modify-write in a way that matters to a counter.
    unsafe {
        let before = *cell;
        *cell = before.wrapping_add(1);
        before
    }
}

/// CLOCK_MONOTONIC, in nanoseconds.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// A number between 0 and `bound` - 1; 0 when `bound` is 0.
#[inline(always)]
pub fn any_below(bound: u32) -> u32 {
    if bound == 0 {
        return 0;
    }
    // SAFETY: no arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    random % bound
}

/// What the cache says of a connection, or `None` when it says nothing under this generation.
#[inline(always)]
pub fn verdict(generation: u32, mut key: VerdictKey) -> Option<u32> {
    // SAFETY: the reference is used before the map can be written by this program.
    let exact = unsafe { VERDICTS.get(&key) };
    let found = match exact {
        Some(found) => found,
        None => {
            key.port = ANY_PORT;
            // SAFETY: as above.
            unsafe { VERDICTS.get(&key) }?
        }
    };
    if found.generation == generation { Some(found.action) } else { None }
}

/// The class of a plaintext source as `netns` sees it.
#[inline(always)]
pub fn plaintext_class(netns: u64, address: Address) -> Option<u64> {
    let key = Key::new(192, NetworkKey { netns, address });
    PLAINTEXT_SOURCES.get(&key).map(|class| PLAINTEXT | u64::from(*class))
}

/// Whether `PORT_RULES` says `rule` of `port`.
#[inline(always)]
pub fn has_port_rule(netns: u64, port: u16, rule: u16) -> bool {
    let key = PortKey { netns, port, rule, pad: 0 };
    PORT_RULES.get_ptr(&key).is_some()
}

/// What is kept with a socket, or null.
///
/// # Safety
/// `sk` is not null and the verifier knows it for a socket.
#[inline(always)]
pub unsafe fn connection_of(sk: *mut bpf_sock) -> *mut Connection {
    // SAFETY: as the caller promises; a null value asks for what is there.
    unsafe { bpf_sk_storage_get(raw(&CONNECTIONS), sk.cast(), null_mut(), 0) }.cast()
}

/// Keeps `value` with a socket in place of what was there; counts and says when it could not.
///
/// # Safety
/// As [`connection_of`].
#[inline(always)]
pub unsafe fn keep(sk: *mut bpf_sock, mut value: Connection) -> bool {
    // SAFETY: as the caller promises; the value is read before the call returns.
    let kept: *mut Connection =
        unsafe { bpf_sk_storage_get(raw(&CONNECTIONS), sk.cast(), (&raw mut value).cast(), CREATE) }.cast();
    if kept.is_null() {
        count(counter::STORAGE_FAILED);
        return false;
    }
    // SAFETY: not null. A socket that connects again has an older value, so it is written in any case.
    unsafe { *kept = value };
    true
}

/// Forgets what is kept with a socket.
///
/// # Safety
/// As [`connection_of`].
#[inline(always)]
pub unsafe fn forget(sk: *mut bpf_sock) {
    // SAFETY: as the caller promises.
    unsafe { bpf_sk_storage_delete(raw(&CONNECTIONS), sk.cast()) };
}

/// Whether the agent owns the socket.
///
/// # Safety
/// As [`connection_of`].
#[inline(always)]
pub unsafe fn is_agents(sk: *mut bpf_sock) -> bool {
    // SAFETY: as the caller promises.
    let tag = unsafe { bpf_sk_storage_get(raw(&AGENT_SOCKETS), sk.cast(), null_mut(), 0) };
    !tag.is_null()
}

/// The map as the helpers take it: aya offers socket storage to `cgroup_sock_addr` programs only.
#[inline(always)]
fn raw<T>(map: &'static SkStorage<T>) -> *mut c_void {
    core::ptr::from_ref(map).cast_mut().cast()
}

/// Tells the agent; counts what the ring has no room for.
#[inline(always)]
pub fn tell(fill: impl FnOnce(&mut Event)) {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else {
        count(counter::EVENTS_LOST);
        return;
    };
    let event = entry.write(Event {
        time_ns: now_ns(),
        netns: 0,
        started_ns: 0,
        established_ns: 0,
        bytes_sent: 0,
        bytes_received: 0,
        local: Address { words: [0; 4] },
        remote: Address { words: [0; 4] },
        original: Address { words: [0; 4] },
        local_port: 0,
        remote_port: 0,
        original_port: 0,
        kind: 0,
        rtt_us: 0,
        retransmits: 0,
        generation: 0,
        old_state: 0,
    });
    fill(event);
    entry.submit(0);
}
