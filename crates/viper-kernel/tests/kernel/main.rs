//! The kernel's logic on a machine of vectors.

mod fuzz;
