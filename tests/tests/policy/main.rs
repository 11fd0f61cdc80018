//! Policy on the real data path: what it allows and denies between nodes and on one, what is recorded, how
//! live connections are judged again, what is explained, and what bad input does.

mod bad_input;
mod deciding;
mod explaining;
mod live;
mod recording;
mod world;
