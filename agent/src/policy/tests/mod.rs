//! Access policy as a whole, from YAML to verdict; each file is one part of its contract.

mod deciding;
mod explaining;
mod fixtures;
mod matching;
mod properties;
mod reading;
mod selecting;
mod warning;
