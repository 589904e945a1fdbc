//! Whole-program tests on real servers, one binary. Each module says in its name what would break.

mod init;
