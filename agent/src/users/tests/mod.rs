//! RequestAuthentication from the object to the user, and everything that tries to be a user without being one.

mod caching;
mod documented;
mod fetching;
mod fixtures;
mod hostile;
mod keys;
mod locating;
mod properties;
mod reading;
mod rotation;
mod selecting;
mod verifying;
