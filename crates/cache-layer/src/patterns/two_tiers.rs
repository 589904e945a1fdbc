//! A small cache in each process before the shared one.
//!
//! **Promises**: what is found in Redis is promoted into memory, for no longer than it has left there; what is invalidated in one process
//! leaves the memory of the others as soon as the message arrives, and a process that may have missed a message
//! empties its memory before it serves from it again.
//!
//! **Gives up**: between an invalidation in one process and the arrival of its message in another (a round trip), that one may
//! serve the old value. What must never be late, such as sessions and rights, belongs into Redis alone.
//!
//! Chosen by configuration like the other strategies; every pattern here works on it unchanged.
