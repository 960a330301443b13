//! ELF files. The splitter itself checks every split against its input; the target checks that this check never fails.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snapfn_format::init::Init;
use snapfn_split::{SplitError, split_elf};

fuzz_target!(|data: &[u8]| {
    match split_elf(data) {
        Ok(split) => {
            assert!(Init::parse(&split.init).is_ok());
            assert_eq!(split.code.to_vec().len(), data.len());
        }
        Err(SplitError::Check(what)) => panic!("split wrongly: {what}"),
        Err(_) => {}
    }
});
