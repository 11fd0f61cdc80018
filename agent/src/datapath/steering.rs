//! The steering program, parsed and relocated once; each pod's copy differs from it in one number.
//!
//! Entry points: [`Steering::new`], [`Steering::load`]. An SK_LOOKUP program cannot ask which namespace it
//! runs in, so each copy is loaded with its own. Loading the whole object for each would read it, and all that
//! the kernel says of its own types, again: tens of milliseconds where this takes one or two.

use std::{
    collections::HashMap,
    ffi::CString,
    io,
    num::NonZero,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    thread,
};

use aya_obj::{EbpfSectionKind, Object, generated::bpf_insn};

use super::bpf;

/// Copies that are loaded at one time.
const MOST_THREADS: usize = 4;

/// In place of a descriptor, in instructions that refer to the constants.
const CONSTANTS: i32 = -1;

/// `BPF_LD | BPF_IMM | BPF_DW` and `BPF_PSEUDO_MAP_VALUE`: an instruction that refers to a map's value.
const LOAD_WIDE: u8 = 0x18;
const MAP_VALUE: u8 = 2;

/// Why the program cannot be taken out of the object, or not loaded.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// The object is not what it ought to be.
    #[error("the eBPF object cannot be read: {0}")]
    Object(String),
    /// A map that is to be shared is not there.
    #[error("map {name} is not pinned: {error}")]
    Map {
        /// Its name.
        name: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refused.
    #[error("the kernel does not take program {name}: {error}: run `weir check`")]
    Program {
        /// Its name.
        name: &'static str,
        /// What the kernel said, the verifier's last words included.
        error: io::Error,
    },
}

/// One program of the object, ready but for its constants.
pub(super) struct Steering {
    name: &'static str,
    license: CString,
    instructions: Vec<bpf_insn>,
    constants: Vec<u8>,
    /// Where in the constants the cookie is.
    cookie_at: usize,
    /// The maps that the instructions name by descriptor, held open for that.
    maps: Vec<(&'static str, OwnedFd)>,
}

impl Steering {
    /// Takes program `name` out of `object`; its maps are those pinned in the directory `maps`. `constants`
    /// are its globals but for `cookie`, the one in which copies differ.
    pub(super) fn new(
        object: &[u8],
        name: &'static str,
        (maps, pinned): (&Path, &[&'static str]),
        constants: &[(&str, &[u8])],
        cookie: &str,
    ) -> Result<Self, SteeringError> {
        let mut object = Object::parse(object).map_err(unreadable)?;
        object.patch_map_data(globals(constants)).map_err(unreadable)?;
        let maps = open_maps(maps, pinned)?;
        relocate(&mut object, &maps)?;
        // Where the number is shows by writing it twice.
        object.patch_map_data(globals(&[(cookie, &[0xff; 8])])).map_err(unreadable)?;
        let written = constants_of(&object)?;
        object.patch_map_data(globals(&[(cookie, &[0; 8])])).map_err(unreadable)?;
        let constants = constants_of(&object)?;
        let cookie_at = constants.iter().zip(&written).position(|(zero, one)| zero != one);
        let program = object.programs.get(name).ok_or_else(|| unreadable(format!("no {name}")))?;
        let function = object.functions.get(&program.function_key());
        let function = function.ok_or_else(|| unreadable(format!("{name} is empty")))?;
        Ok(Self {
            name,
            license: program.license.clone(),
            instructions: function.instructions.clone(),
            constants,
            cookie_at: cookie_at.ok_or_else(|| unreadable(format!("no {cookie}")))?,
            maps,
        })
    }

    /// The object's maps, by name.
    pub(super) fn maps(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.maps.iter().map(|(name, map)| (*name, map.as_fd()))
    }

    /// Copies for several namespaces. The kernel verifies each, which is most of what a capture takes, but several at one
    /// time. One that it does not take is left out.
    pub(super) fn load_all(&self, cookies: &[u64]) -> HashMap<u64, OwnedFd> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        let share = cookies.len().div_ceil(threads).max(1);
        let load = |cookies: &[u64]| -> Vec<(u64, OwnedFd)> {
            cookies.iter().filter_map(|cookie| Some((*cookie, self.load(*cookie).ok()?))).collect()
        };
        let mut shares = cookies.chunks(share);
        let Some(own) = shares.next() else { return HashMap::new() };
        thread::scope(|scope| {
            let others: Vec<_> = shares
                .filter_map(|share| {
                    let load = &load;
                    thread::Builder::new()
                        .name("steering".into())
                        .spawn_scoped(scope, move || load(share))
                        .ok()
                })
                .collect();
            let own = load(own);
            let others = others.into_iter().filter_map(|other| other.join().ok()).flatten();
            own.into_iter().chain(others).collect()
        })
    }

    /// A copy for the namespace with this cookie.
    pub(super) fn load(&self, cookie: u64) -> Result<OwnedFd, SteeringError> {
        let wrong = |error| SteeringError::Program { name: self.name, error };
        let mut constants = self.constants.clone();
        constants[self.cookie_at..][..8].copy_from_slice(&cookie.to_ne_bytes());
        // The program holds the map from here on.
        let map = bpf::create_frozen(&constants).map_err(wrong)?;
        let mut instructions = self.instructions.clone();
        for instruction in &mut instructions {
            if refers_to_constants(instruction) {
                instruction.imm = map.as_raw_fd();
            }
        }
        bpf::load_sk_lookup(self.name, &self.license, &instructions).map_err(wrong)
    }
}

fn open_maps(
    directory: &Path,
    names: &[&'static str],
) -> Result<Vec<(&'static str, OwnedFd)>, SteeringError> {
    let open = |name: &&'static str| {
        let fd = bpf::pinned(&directory.join(name));
        fd.map(|fd| (*name, fd)).map_err(|error| SteeringError::Map { name, error })
    };
    names.iter().map(open).collect()
}

/// Puts the maps' descriptors into the instructions, and called functions after their callers.
fn relocate(object: &mut Object, maps: &[(&'static str, OwnedFd)]) -> Result<(), SteeringError> {
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    let parsed = std::mem::take(&mut object.maps);
    let known: HashMap<&str, i32> = maps.iter().map(|(name, fd)| (*name, fd.as_raw_fd())).collect();
    let descriptors = parsed.iter().map(|(name, map)| {
        let fd = known.get(name.as_str()).copied().unwrap_or(CONSTANTS);
        (name.as_str(), fd, map)
    });
    object.relocate_maps(descriptors, &sections).map_err(unreadable)?;
    object.relocate_calls(&sections).map_err(unreadable)?;
    object.maps = parsed;
    Ok(())
}

fn constants_of(object: &Object) -> Result<Vec<u8>, SteeringError> {
    let mut found = object.maps.values().filter(|map| map.section_kind() == EbpfSectionKind::Rodata);
    match (found.next(), found.next()) {
        (Some(map), None) => Ok(map.data().to_vec()),
        _ => Err(unreadable("it has not one section of constants")),
    }
}

fn refers_to_constants(instruction: &bpf_insn) -> bool {
    instruction.code == LOAD_WIDE && instruction.src_reg() == MAP_VALUE && instruction.imm == CONSTANTS
}

fn globals<'a>(values: &[(&'a str, &'a [u8])]) -> HashMap<&'a str, (&'a [u8], bool)> {
    values.iter().map(|(name, value)| (*name, (*value, true))).collect()
}

fn unreadable(error: impl ToString) -> SteeringError {
    SteeringError::Object(error.to_string())
}
