//! The program that libFuzzer drives; `cargo lab fuzz` builds and runs it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spire_mesh_fuzz::chosen().run(bytes));
