//! Functions over `wasi:keyvalue@0.2.0-draft2`, and over `wasi:config` in the two versions that `http-kit` does not
//! import. Each says in words what the host answered; what they do is written in `draft2.wit`.

use wasi::config0_2_0_draft::store as config;
use wasi::config0_2_0_draft_2024_09_27::store as config_2024;
use wasi::keyvalue::atomics::{self, Cas, CasError};
use wasi::keyvalue::store::{self, Error};
use wasi::keyvalue::batch;

wit_bindgen::generate!({ world: "draft2", path: "draft2.wit", generate_all });

struct Draft2;

export!(Draft2);

impl Guest for Draft2 {
    fn walk(name: String) -> Vec<String> {
        let mut said = Vec::new();
        if let Err(error) = walk(&name, &mut said) {
            said.push(words(&error));
        }
        said
    }

    fn add(name: String, key: String, delta: i64) -> Result<i64, String> {
        let bucket = store::open(&name).map_err(|error| words(&error))?;
        atomics::increment(&bucket, &key, delta).map_err(|error| words(&error))
    }

    fn race(name: String, key: String) -> Vec<String> {
        let mut said = Vec::new();
        if let Err(error) = race(&name, &key, &mut said) {
            said.push(words(&error));
        }
        said
    }

    fn hoard(name: String, times: u32) -> String {
        let mut kept = Vec::new();
        for _ in 0..times {
            match store::open(&name) {
                Ok(bucket) => kept.push(bucket),
                Err(error) => return format!("{}: {}", kept.len(), words(&error)),
            }
        }
        kept.len().to_string()
    }

    fn setting(key: String) -> Vec<String> {
        vec![format!("{:?}", config::get(&key)), format!("{:?}", config_2024::get(&key)), format!("{:?}", config_2024::get_all())]
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "access denied".to_owned(),
        Error::Other(why) => why.clone(),
    }
}

fn text(value: Option<Vec<u8>>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| String::from_utf8_lossy(&value).into_owned())
}

fn walk(name: &str, said: &mut Vec<String>) -> Result<(), Error> {
    let bucket = store::open(name)?;
    said.push(format!("get: {}", text(bucket.get("a")?)));
    bucket.set("a", b"apple")?;
    said.push(format!("get: {}", text(bucket.get("a")?)));
    said.push(format!("exists: {}", bucket.exists("a")?));
    batch::set_many(&bucket, &[("b".to_owned(), b"bean".to_vec()), ("c".to_owned(), b"corn".to_vec())])?;
    let many = batch::get_many(&bucket, &["c".to_owned(), "x".to_owned(), "a".to_owned()])?;
    let many: Vec<_> = many.into_iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
    said.push(format!("get-many: {}", many.join(" ")));
    let page = bucket.list_keys(None)?;
    said.push(format!("list-keys: {} {:?}", page.keys.join(" "), page.cursor));
    // A cursor nobody gave out leads to keys of this store or to an error, never further.
    let forged = bucket.list_keys(Some("b"))?;
    said.push(format!("list-keys: {} {:?}", forged.keys.join(" "), forged.cursor));
    batch::delete_many(&bucket, &["a".to_owned(), "b".to_owned(), "x".to_owned()])?;
    bucket.delete("c")?;
    said.push(format!("exists: {}", bucket.exists("c")?));
    Ok(())
}

fn race(name: &str, key: &str, said: &mut Vec<String>) -> Result<(), Error> {
    let bucket = store::open(name)?;
    let (first, second) = (Cas::new(&bucket, key)?, Cas::new(&bucket, key)?);
    said.push(format!("current: {}", text(first.current()?)));
    said.push(outcome(atomics::swap(first, b"first"))?.map_or("won".to_owned(), |_| "lost".to_owned()));
    let Some(retry) = outcome(atomics::swap(second, b"second"))? else {
        said.push("the second swap won on a value that had changed".to_owned());
        return Ok(());
    };
    said.push(format!("lost to: {}", text(retry.current()?)));
    said.push(outcome(atomics::swap(retry, b"again"))?.map_or("won".to_owned(), |_| "lost".to_owned()));
    said.push(format!("get: {}", text(bucket.get(key)?)));
    Ok(())
}

/// The handle to try again with, if somebody was faster.
fn outcome(swapped: Result<(), CasError>) -> Result<Option<Cas>, Error> {
    match swapped {
        Ok(()) => Ok(None),
        Err(CasError::CasFailed(cas)) => Ok(Some(cas)),
        Err(CasError::StoreError(error)) => Err(error),
    }
}
