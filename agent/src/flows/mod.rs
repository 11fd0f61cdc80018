//! Flow records: what they hold, where they are kept, who may read them.

pub mod record;
