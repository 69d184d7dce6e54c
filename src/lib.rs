//! The core of `mde-live-response`.
