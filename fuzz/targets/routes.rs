//! Lines of routes, and requests to them: the tree finds a route exactly if one of the routes alone takes the request.

#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use samara_model::{Miss, Pattern, RouteTable};

/// Routes and requests of one input.
const MAX_LINES: usize = 32;

fuzz_target!(|text: &str| {
    let (mut table, mut alone) = (RouteTable::new(), Vec::new());
    for line in text.lines().take(MAX_LINES) {
        let (host, path) = line.split_once(' ').unwrap_or(("", line));
        let host = Some(host).filter(|host| !host.is_empty());
        if let Ok(pattern) = path.parse::<Pattern>()
            && table.insert(host, &[], &pattern, ()).is_ok()
        {
            let mut single = RouteTable::new();
            assert!(single.insert(host, &[], &pattern, ()).is_ok(), "the first route of a table is taken");
            alone.push(single);
        }
    }
    for line in text.lines().take(MAX_LINES) {
        let (host, path) = line.split_once(' ').unwrap_or(("", line));
        let found = table.find(host, &Method::GET, path);
        let by_one = alone.iter().any(|single| single.find(host, &Method::GET, path).is_ok());
        match found {
            Ok(_) => assert!(by_one, "no route takes {line:?} alone"),
            Err(Miss::NotFound) => assert!(!by_one, "a route takes {line:?} alone"),
            Err(_) => {}
        }
    }
});
