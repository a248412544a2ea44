//! A store's URL as it may be printed: where it leads, and nothing that opens the door there.
//!
//! A URL that people wrote may be broken (a `/`, a `?` or a `@` inside a password), and then every reader divides it
//! differently. So nothing here divides it: whatever stands before its last `@` is taken for credentials, whatever follows a
//! `?` or a `#` for parameters, where passwords are written too, and what could be either is not told. A place that is told
//! with too little is found all the same.

/// Characters of a place that are told, at most.
const CHARACTERS: usize = 256;

/// What stands for a place that cannot be told apart from a password.
const UNTOLD: &str = "...";

/// The URL without user names, passwords, tokens and parameters, fit for an error, a log line or a span:
/// `redis://user:pass@cache.internal:6379/0?x=y` is `redis://cache.internal:6379/0`.
///
/// Of several hosts that are listed with their credentials only the last is left. Control characters are written out, and
/// what is very long is cut.
pub fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').map_or(("", url), |(scheme, rest)| (scheme, rest));
    let colon = if scheme.is_empty() { "" } else { ":" };
    let (slashes, rest) = rest.strip_prefix("//").map_or(("", rest), |rest| ("//", rest));
    let parameters = rest.find(['?', '#']).unwrap_or(rest.len());
    let place = match rest.rfind('@') {
        Some(at) if at > parameters => UNTOLD,
        Some(at) => rest.get(at + 1..parameters).unwrap_or(UNTOLD),
        None => rest.get(..parameters).unwrap_or(UNTOLD),
    };
    let told = [scheme, colon, slashes, place].concat();
    let printable = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    told.chars().take(CHARACTERS).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, told: &str) {
        assert_eq!(without_credentials(url), told, "{url}");
    }

    #[test]
    fn a_place_without_credentials_is_told_as_it_is() {
        for url in ["memory:", "redb:./data/carts.redb", "redis://cache:6379/0", "s3://bucket/folder", "fs:/var/blobs"]
        {
            check(url, url);
        }
        check("nats://a:4222,nats://b:4222", "nats://a:4222,nats://b:4222");
    }

    #[test]
    fn credentials_and_parameters_are_left_out() {
        check("redis://user:pass@cache:6379/0", "redis://cache:6379/0");
        check("redis://:pass@[::1]:6379", "redis://[::1]:6379");
        check("nats://token@a:4222", "nats://a:4222");
        check("nats://u:pass@a,nats://u:pass@b", "nats://b");
        check("postgres://db/shop?user=me&password=pass", "postgres://db/shop");
        check("sqlite:./shop.db#key=pass", "sqlite:./shop.db");
        check("redis:user:pass@cache", "redis:cache");
        check("user:pass@cache/0", "user:cache/0");
    }

    #[test]
    fn no_spelling_of_a_password_is_told() {
        let awkward = ["@", "/", "?", "#", ":", "//", "a@b", "a/b@", "?@", "#/@", "%40", ",", "ü", "\n", "", " "];
        for before in awkward {
            for after in awkward {
                let password = format!("{before}PASS{after}WORD");
                for url in [
                    format!("redis://user:{password}@cache:6379/0"),
                    format!("redis://{password}@cache"),
                    format!("redis:{password}@cache"),
                    format!("nats://u:{password}@a,u:{password}@b/x"),
                    format!("postgres://cache/shop?password={password}"),
                    format!("postgres://me@cache/shop?password={password}&x=y@z"),
                ] {
                    let told = without_credentials(&url);
                    assert!(!told.contains("PASS") && !told.contains("WORD"), "{url} is told as {told}");
                }
            }
        }
    }

    #[test]
    fn what_is_told_fits_a_line() {
        check("redis://ca\nche", "redis://ca\\nche");
        assert_eq!(without_credentials(&format!("redis://{}", "x".repeat(10_000))).len(), CHARACTERS);
    }
}
