//! A key-value store for other guests in which `Apple` and `apple` are one key, kept in the store that this guest is granted.
//! It serves plain functions, and `wasi:keyvalue@0.2.0-draft`, whose cursors and sums have no sign.

use exports::wasi::keyvalue0_2_0_draft::atomics as own_atomics;
use exports::wasi::keyvalue0_2_0_draft::store::{self as own, Error, KeyResponse};
use wasi::keyvalue0_2_0_draft2::{atomics, store};

wit_bindgen::generate!({ world: "folded", path: "folded.wit", generate_all });

struct Folded;

export!(Folded);

struct Bucket(store::Bucket);

/// Keys of one page.
const PAGE: usize = 3;

impl own::Guest for Folded {
    type Bucket = Bucket;

    fn open(identifier: String) -> Result<own::Bucket, Error> {
        Ok(own::Bucket::new(Bucket(store::open(&identifier).map_err(told)?)))
    }
}

impl own::GuestBucket for Bucket {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(&folded(&key)).map_err(told)
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.0.set(&folded(&key), &value).map_err(told)
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        self.0.delete(&folded(&key)).map_err(told)
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        self.0.exists(&folded(&key)).map_err(told)
    }

    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let (keys, cursor) = page(&self.0, cursor.unwrap_or(0)).map_err(told)?;
        Ok(KeyResponse { keys, cursor })
    }
}

impl own_atomics::Guest for Folded {
    fn increment(bucket: own::BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        let delta = i64::try_from(delta).map_err(|_| Error::Other("too much".to_owned()))?;
        let sum = atomics::increment(&bucket.get::<Bucket>().0, &folded(&key), delta).map_err(told)?;
        u64::try_from(sum).map_err(|_| Error::Other("below 0".to_owned()))
    }
}

impl Guest for Folded {
    fn get(key: String) -> Result<Option<Vec<u8>>, String> {
        bucket()?.get(&folded(&key)).map_err(words)
    }

    fn set(key: String, value: Vec<u8>) -> Result<(), String> {
        bucket()?.set(&folded(&key), &value).map_err(words)
    }

    fn delete(key: String) -> Result<(), String> {
        bucket()?.delete(&folded(&key)).map_err(words)
    }

    fn list_keys(cursor: Option<String>) -> Page {
        let start = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let (keys, cursor) = page(&bucket().unwrap(), start).unwrap();
        Page { keys, cursor: cursor.map(|cursor| cursor.to_string()) }
    }

    fn increment(key: String, delta: i64) -> i64 {
        atomics::increment(&bucket().unwrap(), &folded(&key), delta).unwrap()
    }
}

fn bucket() -> Result<store::Bucket, String> {
    store::open("default").map_err(words)
}

fn folded(key: &str) -> String {
    key.to_lowercase()
}

/// A few keys, and how many came before the next ones.
fn page(bucket: &store::Bucket, start: u64) -> Result<(Vec<String>, Option<u64>), store::Error> {
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    keys.sort();
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(keys.len());
    let rest = keys.split_off(start);
    let next = (rest.len() > PAGE).then_some((start + PAGE) as u64);
    Ok((rest.into_iter().take(PAGE).collect(), next))
}

fn told(error: store::Error) -> Error {
    match error {
        store::Error::NoSuchStore => Error::NoSuchStore,
        store::Error::AccessDenied => Error::AccessDenied,
        store::Error::Other(why) => Error::Other(why),
    }
}

fn words(error: store::Error) -> String {
    format!("{error:?}")
}
