//! Tests over a driver and a device that live in memory and can be told to fail.

mod cases;
mod fake;
mod model;
