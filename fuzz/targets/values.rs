//! Any text as each small value of a manifest. What is read and written again is the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use samara_model::{
    AddressRule, OriginRule, Pattern, Tenant, format_bytes, format_duration, parse_bytes, parse_duration, parse_rate,
    route::{parse_host, parse_method},
};

fuzz_target!(|text: &str| {
    if let Ok(bytes) = parse_bytes(text) {
        let written = format_bytes(bytes);
        // Sizes that no unit divides are written with one decimal, rounded down.
        let again = parse_bytes(&written).expect("what was written can be read");
        assert!(again <= bytes && bytes - again <= bytes / 10, "{bytes} is written `{written}`, which is {again}");
    }
    if let Ok(duration) = parse_duration(text) {
        assert!(
            parse_duration(&format_duration(duration)).is_ok(),
            "{duration:?} is written {}",
            format_duration(duration)
        );
    }
    drop((parse_rate(text), parse_method(text)));
    if let Ok(rule) = text.parse::<AddressRule>() {
        assert_eq!(rule.to_string().parse::<AddressRule>().as_ref(), Ok(&rule));
    }
    if let Ok(rule) = text.parse::<OriginRule>() {
        assert_eq!(rule.to_string().parse::<OriginRule>().as_ref(), Ok(&rule));
    }
    if let Ok(pattern) = text.parse::<Pattern>() {
        assert_eq!(pattern.as_str(), text);
    }
    if let Ok(tenant) = Tenant::new(text) {
        assert_eq!(tenant.as_str(), text);
    }
    if let Ok(host) = parse_host(text) {
        assert_eq!(parse_host(&host).as_ref(), Ok(&host));
    }
});
