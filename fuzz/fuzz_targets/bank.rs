//! Whatever the bytes: an error or a value, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = trolley::codec::decode_bank(data);
});
