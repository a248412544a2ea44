//! Which route wins, and a hammer against the obvious implementation.

use http::Method;

use super::{EVERYTHING, MAX_PATH_BYTES, Miss, Pattern, RouteTable, parse_host};
use crate::hammer::Random;

/// A table of routes written `[GET,POST ][host]/path`; each leads to its own text.
fn table(routes: &[&'static str]) -> RouteTable<&'static str> {
    let mut table = RouteTable::new();
    for route in routes {
        let (host, methods, pattern) = parse(route);
        table.insert(host, &methods, &pattern, *route).unwrap_or_else(|conflict| panic!("{conflict}"));
    }
    table
}

fn parse(route: &str) -> (Option<&str>, Vec<Method>, Pattern) {
    let (methods, rest) = route.split_once(' ').unwrap_or(("", route));
    let (host, _) = rest.split_once('/').unwrap();
    let methods = methods.split(',').filter(|m| !m.is_empty()).map(|m| m.parse().unwrap()).collect();
    ((!host.is_empty()).then_some(host), methods, rest[host.len()..].parse().unwrap())
}

/// What `GET path` on host `h` takes, with its parameters: `/a/:x x=1`, or the miss.
fn get(routes: &[&'static str], path: &str) -> String {
    ask(routes, "h", &Method::GET, path)
}

fn ask(routes: &[&'static str], host: &str, method: &Method, path: &str) -> String {
    match table(routes).find(host, method, path) {
        Ok(found) => {
            assert!(found.value.ends_with(&**found.pattern));
            let params = found.params.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{}{}", found.value, params.collect::<String>())
        }
        Err(miss) => format!("{miss:?}"),
    }
}

#[test]
fn the_most_specific_route_wins() {
    let routes = &["/*all", "/a/*rest", "/a/:x", "/a/b", "/a/:x/c", "/a/b/:y", "h2/:x", "GET h2/a/:x"];
    assert_eq!(get(routes, "/a/b"), "/a/b");
    assert_eq!(get(routes, "/a/z"), "/a/:x x=z");
    assert_eq!(get(routes, "/a/b/c"), "/a/b/:y y=c", "segments count from the left");
    assert_eq!(get(routes, "/a/z/c"), "/a/:x/c x=z");
    assert_eq!(get(routes, "/a/z/d"), "/a/*rest rest=z/d");
    assert_eq!(get(routes, "/b"), "/*all all=b");
    assert_eq!(ask(routes, "h2", &Method::GET, "/a/b"), "GET h2/a/:x x=b", "the host before the path");
    assert_eq!(ask(routes, "h2", &Method::POST, "/a/b"), "/a/b", "a route of another method does not stand in the way");
}

#[test]
fn methods_choose_among_routes_of_one_path() {
    let routes = &["/a", "GET /a", "HEAD /b", "GET /b", "GET,POST /c", "GET /:x"];
    let method = |method: &str, path| ask(routes, "h", &method.parse().unwrap(), path);
    assert_eq!(method("GET", "/a"), "GET /a");
    assert_eq!(method("DELETE", "/a"), "/a");
    assert_eq!(method("HEAD", "/a"), "GET /a", "HEAD is a GET without a body");
    assert_eq!(method("HEAD", "/b"), "HEAD /b");
    assert_eq!(method("POST", "/c"), "GET,POST /c");
    assert_eq!(method("PUT", "/c"), "Method([GET, HEAD, POST])", "HEAD is allowed where GET is");
    assert_eq!(method("OPTIONS", "/c"), "Method([GET, HEAD, POST])");
    assert_eq!(method("PUT", "/c/d"), "NotFound");
}

#[test]
fn hosts_compare_without_case_port_and_final_dot() {
    let routes = &["shop.test/", "[::1]/", "/"];
    for host in ["shop.test", "SHOP.test", "shop.test:8080", "shop.test.", "shop.test.:80"] {
        assert_eq!(ask(routes, host, &Method::GET, "/"), "shop.test/", "{host}");
    }
    for host in ["[::1]", "[::1]:8080"] {
        assert_eq!(ask(routes, host, &Method::GET, "/"), "[::1]/", "{host}");
    }
    for host in ["", "x.shop.test", "shop", ":80", "]", "[", "shop.test:80:80.x"] {
        let wanted = if host.starts_with("shop.test:") { "shop.test/" } else { "/" };
        assert_eq!(ask(routes, host, &Method::GET, "/"), wanted, "{host}");
    }
    for (text, host) in [("Shop.Test", Some("shop.test")), ("[::1]", Some("[::1]")), ("a.", Some("a"))] {
        assert_eq!(parse_host(text).ok().as_deref(), host);
    }
    for bad in ["", "a:80", "*.a", "http://a", "a b", ".", "[::g]", "a/b", "ä.test"] {
        assert!(parse_host(bad).unwrap_err().contains("shop.test"), "{bad}");
    }
}

#[test]
fn paths_are_taken_as_they_are() {
    assert_eq!(get(&[EVERYTHING], "/"), "/*rest rest=");
    assert_eq!(EVERYTHING.parse(), Ok(Pattern::everything()));
    assert_eq!(get(&["/files/*rest"], "/files/"), "/files/*rest rest=");
    assert_eq!(get(&["/files/*rest"], "/files"), "NotFound");
    assert_eq!(get(&["/files/*rest"], "/files//../a/"), "/files/*rest rest=/../a/");
    assert_eq!(get(&["/a", "/a/"], "/a/"), "/a/");
    assert_eq!(get(&["/a"], "/a/"), "NotFound");
    assert_eq!(get(&["/a/:x"], "/a/"), "NotFound", "a parameter is never empty");
    assert_eq!(get(&["/a//b"], "/a//b"), "/a//b");
    assert_eq!(get(&["/a/b"], "/a//b"), "NotFound");
    assert_eq!(get(&["/:x"], "/.."), "/:x x=..");
    for path in ["", "*", "a", "http://h/"] {
        assert_eq!(get(&[EVERYTHING], path), "NotFound", "{path}");
    }
}

#[test]
fn escapes_are_decoded_after_the_path_is_split() {
    assert_eq!(get(&["/a/:x"], "/a/b%2Fc"), "/a/:x x=b/c");
    assert_eq!(get(&["/:x/b"], "/%C3%A9%20+/b"), "/:x/b x=é +");
    assert_eq!(get(&["/admin", "/*rest"], "/%61dmin"), "/admin", "an escape is no way around a route");
    assert_eq!(get(&["/é"], "/%c3%A9"), "/é");
    assert_eq!(get(&["/*rest"], "/a%2fb/%25"), "/*rest rest=a/b/%");
    for bad in ["/%", "/%4", "/%zz", "/a%C3", "/%FF", "/a%00b", "/%+1"] {
        assert_eq!(get(&["/:x"], bad), "BadPath", "{bad}");
    }
    assert_eq!(get(&["/a"], "/%zz"), "NotFound");
}

#[test]
fn paths_and_patterns_have_bounds() {
    assert_eq!(get(&[EVERYTHING], &format!("/{}", "a".repeat(MAX_PATH_BYTES))), "TooLong");
    assert!(get(&[EVERYTHING], &"/".repeat(MAX_PATH_BYTES)).starts_with(EVERYTHING));
    assert!("/a".repeat(65).parse::<Pattern>().unwrap_err().to_string().contains("over 64 segments"));
}

#[test]
fn patterns_that_do_not_parse_say_what_would() {
    for (text, part) in [
        ("", "write `/`"),
        ("a", "write `/a`"),
        ("/*", "write `:id` or `*rest`"),
        ("/:", "write `:id` or `*rest`"),
        ("/:1", "write `:id` or `*rest`"),
        ("/:a b", "write `:id` or `*rest`"),
        ("/*rest/a", "make it the last segment"),
        ("/a*", "write `*rest`"),
        ("/:a/:a", "give each parameter its own name"),
        ("/:a/*a", "give each parameter its own name"),
        ("/a?b", "leave the query out"),
        ("/%41", "write the character itself"),
        ("/a\u{7}", "leave it out"),
    ] {
        let error = text.parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert_eq!("/v1/x:go/:y".parse::<Pattern>().unwrap().to_string(), "/v1/x:go/:y");
}

#[test]
fn routes_that_nothing_tells_apart_are_refused_and_named() {
    let conflict = |first: &'static str, second: &str| {
        let mut table = table(&[first]);
        let (host, methods, pattern) = parse(second);
        let conflict = table.insert(host, &methods, &pattern, "second").err().map(|conflict| conflict.to_string());
        assert_eq!(table.routes().len(), if conflict.is_some() { 1 } else { 2 });
        conflict
    };
    for (first, second) in
        [("/a/:x", "/a/:y"), ("h/*x", "H/*y"), ("GET,POST /", "POST,PUT /"), ("GET h/a/:x/c", "GET h/a/:y/c")]
    {
        let message = conflict(first, second).unwrap_or_else(|| panic!("{first} and {second}"));
        assert!(message.contains(first) && message.to_lowercase().contains(&second.to_lowercase()), "{message}");
    }
    for (first, second) in
        [("/a/:x", "/a/b"), ("/", "GET /"), ("GET /", "POST /"), ("h/", "/"), ("/a", "/a/"), ("/:x", "/*x")]
    {
        assert_eq!(conflict(first, second), None, "{first} and {second}");
    }
}

/// What a request takes when every route is asked in turn.
fn naive(routes: &[String], host: &str, method: &Method, path: &str) -> Result<String, bool> {
    let mut best: Option<(Vec<u8>, &String)> = None;
    let mut path_known = false;
    for route in routes {
        let (route_host, methods, pattern) = parse(route);
        let mut rank = vec![u8::from(route_host.is_none())];
        if route_host.is_some_and(|route_host| route_host != host) {
            continue;
        }
        let mut left: Option<Vec<&str>> = Some(path[1..].split('/').collect());
        for segment in pattern.as_str()[1..].split('/') {
            left = left.and_then(|left| {
                let (first, after) = left.split_first()?;
                match segment.as_bytes().first() {
                    Some(b'*') => Some(Vec::new()).inspect(|_: &Vec<&str>| rank.push(2)),
                    Some(b':') if first.is_empty() => None,
                    Some(b':') => Some(after.to_vec()).inspect(|_| rank.push(1)),
                    _ if *first == segment => Some(after.to_vec()).inspect(|_| rank.push(0)),
                    _ => None,
                }
            });
        }
        if left.is_none_or(|left| !left.is_empty()) {
            continue;
        }
        path_known = true;
        rank.push(match () {
            () if methods.contains(method) => 0,
            () if *method == Method::HEAD && methods.contains(&Method::GET) => 1,
            () if methods.is_empty() => 2,
            () => continue,
        });
        if best.as_ref().is_none_or(|(best, _)| rank < *best) {
            best = Some((rank, route));
        }
    }
    best.map(|(_, route)| route.clone()).ok_or(path_known)
}

#[test]
fn the_table_agrees_with_asking_every_route() {
    let mut random = Random::new(11);
    let methods = ["", "GET ", "POST ", "GET,POST ", "HEAD "];
    for _ in 0..400 {
        let mut routes: Vec<String> = Vec::new();
        let mut table = RouteTable::new();
        for _ in 0..random.below(14) {
            let mut route = format!("{}{}", random.pick(&methods), random.pick(&["", "", "h", "g"]));
            for depth in 0..=random.below(3) {
                route += &match random.below(6) {
                    0 => "/".to_owned(),
                    1 => format!("/:p{depth}"),
                    2 => {
                        route += "/*rest";
                        break;
                    }
                    _ => format!("/{}", random.pick(&["a", "b"])),
                };
            }
            let (host, methods, pattern) = parse(&route);
            if table.insert(host, &methods, &pattern, route.clone()).is_ok() {
                routes.push(route.clone());
            }
        }
        for _ in 0..60 {
            let path: String = (0..=random.below(4)).map(|_| *random.pick(&["/", "/a", "/b", "/c"])).collect();
            let method = random.pick(&[Method::GET, Method::POST, Method::HEAD, Method::PUT]);
            let host = random.pick(&["h", "g", "other"]);
            let found = match table.find(host, method, &path) {
                Ok(found) => Ok(found.value.clone()),
                Err(Miss::Method(_)) => Err(true),
                Err(Miss::NotFound) => Err(false),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found, naive(&routes, host, method, &path), "{method} {host}{path} in {routes:?}");
        }
    }
}
