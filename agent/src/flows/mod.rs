//! Flow records: what they hold, where they are kept, who may read them.

mod policy_ref;
pub mod record;
