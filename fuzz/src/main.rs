//! One program for all targets: `PLACET_FUZZ_TARGET` says which, libFuzzer's own arguments say how.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use placet_fuzz::Target;

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("PLACET_FUZZ_TARGET").expect("PLACET_FUZZ_TARGET names a target");
        placet_fuzz::target(&name).expect("PLACET_FUZZ_TARGET names a target that there is")
    })
}

fuzz_target!(|data: &[u8]| (chosen().run)(data));
