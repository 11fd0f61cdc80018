//! Access policy as a whole, from YAML to verdict; each file is one part of its contract.

mod connecting;
mod deciding;
mod documented;
mod explaining;
mod fixtures;
mod generators;
mod judging;
mod matching;
mod properties;
mod reading;
mod selecting;
mod spelling;
mod warning;
