//! The engine of TCP (RFC 9293): no I/O, no clock, no threads.
