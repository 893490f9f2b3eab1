//! `libz-sys` under the name `libz-ng-sys`.
//!
//! pingora-core always depends on flate2 with its `zlib-ng` backend, whose build script needs
//! cmake. Tidegate never compresses (its module list is empty), so the plain zlib, which builds
//! with the C compiler that rustls needs anyway, serves to satisfy the linker.

pub use libz_sys::*;
