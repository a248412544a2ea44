//! Thousands of changed bytes in everything that strangers sign: nothing panics, and nothing that was changed still counts.

use serde_json::json;

use super::{module, *};
use crate::trust::{Claims, PublicKey, cosign, embedded};

const ROUNDS: usize = 3_000;

/// The same numbers in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    /// A copy that differs: bytes changed, cut out, doubled or cut off.
    fn changed(&mut self, original: &[u8]) -> Vec<u8> {
        loop {
            let mut bytes = original.to_vec();
            for _ in 0..=self.below(3) {
                let at = self.below(bytes.len().max(1));
                match self.below(5) {
                    _ if bytes.is_empty() => {}
                    0 => bytes.truncate(at),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, bytes[at]),
                    3 => bytes[at] ^= 1 << self.below(8),
                    _ => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                }
            }
            if bytes != original {
                return bytes;
            }
        }
    }
}

#[test]
fn no_changed_module_keeps_its_claims() {
    let signed = module::claimed(MODULE, "jwt", &module::token(MODULE, &module::signer(1), &json!({})));
    assert!(Claims::find(&signed, module::NOW).unwrap().unwrap().problem.is_none());
    let mut numbers = Numbers(1);
    for _ in 0..ROUNDS {
        let changed = numbers.changed(&signed);
        if let Ok(Some(claims)) = Claims::find(&changed, module::NOW) {
            assert!(claims.problem.is_some(), "{}", String::from_utf8_lossy(&changed));
        }
    }
}

#[test]
fn no_changed_module_keeps_its_signature() {
    let rest = module::sections();
    let key = module::signer(1);
    let contents = module::signature(&[module::hash(&rest)], &[&key]);
    let signed = module::with_signature(&contents, &rest);
    assert_eq!(module::good(&signed, &key), Ok(1));
    let mut numbers = Numbers(2);
    for _ in 0..ROUNDS {
        let changed = module::with_signature(&contents, &numbers.changed(&rest));
        assert_ne!(module::good(&changed, &key), Ok(1), "what is signed was changed");
        // The section itself names keys that nobody looks at: any change may keep it good, and none may break anything else.
        drop(embedded::find(&numbers.changed(&signed), &[module::public(&key).1]));
    }
}

/// The document and the bundle, and what a key says to them.
#[test]
fn no_changed_signature_is_a_good_one_over_another_artifact() {
    let pair = KeyPair::generate().unwrap();
    let (subject, other) = (sha256(b"signed"), sha256(b"another"));
    let bundle = cosign::bundle::write(&subject, pair.public().hint(), |message| pair.sign(message));
    let mut numbers = Numbers(3);
    for _ in 0..ROUNDS {
        let changed = numbers.changed(&bundle);
        for wanted in [&subject, &other] {
            let Ok(cosign::bundle::Signed::ByKey(signature)) = cosign::bundle::read(&changed, wanted) else { continue };
            let good = pair.public().verifies(&signature.message, &signature.signature);
            assert!(!good || *wanted == subject, "{}", String::from_utf8_lossy(&changed));
        }
    }
}

#[test]
fn no_changed_key_file_breaks_anything() {
    let pair = KeyPair::generate().unwrap();
    let public = pair.public_pem();
    let mut numbers = Numbers(4);
    for _ in 0..ROUNDS {
        let changed = numbers.changed(public.as_bytes());
        if let Ok(key) = PublicKey::parse("k", &String::from_utf8_lossy(&changed)) {
            let same = key.hint() == pair.public().hint();
            assert_eq!(key.verifies(b"x", &pair.sign(b"x")), same, "{}", String::from_utf8_lossy(&changed));
        }
    }
}
