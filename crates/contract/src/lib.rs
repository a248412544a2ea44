//! Every guest ABI this host speaks: one folder each, and the table below.
//!
//! A contract is a thin two-way codec between a guest's ABI and `Call`, `Reply` and capabilities. Command-line listings,
//! metric labels, `inspect`'s verdicts and the table-wide tests iterate [`ALL`].

use samara_runtime::Contract;

mod message;
mod world;

macro_rules! contracts {
    ($($module:ident :: $type:ident),* $(,)?) => {
        $(mod $module;)*
        /// Order breaks ties: a more specific ABI stands before a more general one.
        pub const ALL: &[&dyn Contract] = &[$(&$module::$type),*];
    };
}

contracts! {
    wasi_http::WasiHttp,
    spin_http::SpinHttp,
    wasmcloud_messaging::WasmcloudMessaging,
    wasi_keyvalue::WasiKeyvalue,
    spin_redis::SpinRedis,
    wasi_cli::WasiCli,
    function::PlainFunction,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_contract_has_a_name_of_its_own_a_specification_and_a_shape() {
        let names: BTreeSet<_> = ALL.iter().map(|contract| contract.name()).collect();
        assert_eq!(names.len(), ALL.len(), "two contracts share a name");
        for contract in ALL {
            assert!(contract.spec_url().starts_with("https://"), "{}", contract.name());
            assert!(!contract.shapes().is_empty(), "{}", contract.name());
        }
    }
}

#[cfg(test)]
mod golden_calls;
#[cfg(test)]
mod lane_tests;
#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tier_tests;
#[cfg(test)]
mod wasi_cloud_tests;
