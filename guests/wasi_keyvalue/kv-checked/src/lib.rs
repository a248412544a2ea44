//! A key-value store for other guests: each value is kept with its checksum in the store that this guest is granted, and one
//! that is not what was written is not given out. To show what goes wrong, keys that begin with `trap`, `spin` and `loop` do
//! as they say, `damage` writes a wrong checksum, and `locked` is refused.

use exports::wasi::keyvalue::atomics as own_atomics;
use exports::wasi::keyvalue::store::{self as own, Error, KeyResponse};
use wasi::keyvalue::{atomics, store};

wit_bindgen::generate!({ world: "checked", path: "checked.wit", generate_all });

struct Checked;

export!(Checked);

struct Bucket(store::Bucket);

/// What a key held, as others see it and as it is kept.
struct Cas {
    kept: std::cell::RefCell<Option<atomics::Cas>>,
    current: Option<Vec<u8>>,
}

impl own::Guest for Checked {
    type Bucket = Bucket;

    fn open(identifier: String) -> Result<own::Bucket, Error> {
        Ok(own::Bucket::new(Bucket(store::open(&identifier).map_err(told)?)))
    }
}

impl own::GuestBucket for Bucket {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        misbehave(&key)?;
        self.0.get(&key).map_err(told)?.map(checked).transpose()
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        misbehave(&key)?;
        let mut kept = sealed(value);
        if key.starts_with("damage") {
            kept[0] ^= 1;
        }
        self.0.set(&key, &kept).map_err(told)
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        self.0.delete(&key).map_err(told)
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        self.0.exists(&key).map_err(told)
    }

    fn list_keys(&self, cursor: Option<String>) -> Result<KeyResponse, Error> {
        let page = self.0.list_keys(cursor.as_deref()).map_err(told)?;
        Ok(KeyResponse { keys: page.keys, cursor: page.cursor })
    }
}

impl own_atomics::Guest for Checked {
    type Cas = Cas;

    fn increment(bucket: own::BucketBorrow<'_>, key: String, delta: i64) -> Result<i64, Error> {
        let bucket = &bucket.get::<Bucket>().0;
        loop {
            let cas = atomics::Cas::new(bucket, &key).map_err(told)?;
            let number = match cas.current().map_err(told)?.map(checked).transpose()? {
                None => 0,
                Some(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| other("no number"))?,
            };
            let sum = i64::checked_add(number, delta).ok_or_else(|| other("too large"))?;
            match atomics::swap(cas, &sealed(sum.to_string().into())) {
                Ok(()) => return Ok(sum),
                Err(atomics::CasError::CasFailed(_)) => {}
                Err(atomics::CasError::StoreError(error)) => return Err(told(error)),
            }
        }
    }

    fn swap(cas: own_atomics::Cas, value: Vec<u8>) -> Result<(), own_atomics::CasError> {
        let kept = cas.get::<Cas>().kept.borrow_mut().take();
        let Some(kept) = kept else { return Err(own_atomics::CasError::StoreError(other("used already"))) };
        match atomics::swap(kept, &sealed(value)) {
            Ok(()) => Ok(()),
            Err(atomics::CasError::StoreError(error)) => Err(own_atomics::CasError::StoreError(told(error))),
            Err(atomics::CasError::CasFailed(now)) => match looked_at(now) {
                Ok(now) => Err(own_atomics::CasError::CasFailed(own_atomics::Cas::new(now))),
                Err(error) => Err(own_atomics::CasError::StoreError(error)),
            },
        }
    }
}

impl own_atomics::GuestCas for Cas {
    fn new(bucket: own::BucketBorrow<'_>, key: String) -> Result<own_atomics::Cas, Error> {
        let cas = atomics::Cas::new(&bucket.get::<Bucket>().0, &key).map_err(told)?;
        Ok(own_atomics::Cas::new(looked_at(cas)?))
    }

    fn current(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.current.clone())
    }
}

fn looked_at(cas: atomics::Cas) -> Result<Cas, Error> {
    let current = cas.current().map_err(told)?.map(checked).transpose()?;
    Ok(Cas { kept: Some(cas).into(), current })
}

/// Four bytes of checksum before the value.
fn sealed(value: Vec<u8>) -> Vec<u8> {
    [&checksum(&value).to_le_bytes()[..], &value].concat()
}

fn checked(kept: Vec<u8>) -> Result<Vec<u8>, Error> {
    match kept.split_first_chunk::<4>() {
        Some((sum, value)) if u32::from_le_bytes(*sum) == checksum(value) => Ok(value.to_vec()),
        _ => Err(other("the value is damaged")),
    }
}

/// FNV-1a.
fn checksum(value: &[u8]) -> u32 {
    value.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn misbehave(key: &str) -> Result<(), Error> {
    if key.starts_with("trap") {
        panic!("told to");
    }
    while key.starts_with("spin") {
        std::hint::black_box(key);
    }
    if key.starts_with("locked") {
        return Err(Error::AccessDenied);
    }
    Ok(())
}

fn told(error: store::Error) -> Error {
    match error {
        store::Error::NoSuchStore => Error::NoSuchStore,
        store::Error::AccessDenied => Error::AccessDenied,
        store::Error::Other(why) => Error::Other(why),
    }
}

fn other(why: &str) -> Error {
    Error::Other(why.to_owned())
}
