//! Claims in a module: who signed it, and what it may be given at most, as a JWT in a custom section.
//!
//! Facts: waSCC and wasmCloud 0.x to 1.x (the `wascap` crate and real signed actors of four generations). The section is
//! `jwt` or `wasmcloud_jwt`; the token is `header.claims.signature`, Ed25519 by the account in `iss` over the first two parts;
//! `wascap.hash` is SHA-256 over the module without its claims, byte by byte as it is, in upper-case hexadecimal.
//!
//! Differs from wascap: the hash is checked for every revision, and a module with two claims sections is refused, because
//! which of them holds depends on the reader.

use data_encoding::{BASE64URL_NOPAD, HEXUPPER};
use ed25519_dalek::Signature;
use samara_model::ClaimedBounds;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{nkey, section::sections, verdict::harmless};

/// The sections that claims are in.
const SECTIONS: [&str; 2] = ["jwt", "wasmcloud_jwt"];
/// A token.
pub(super) const MAX_TOKEN_BYTES: usize = 64 << 10;

/// What a module says about itself, signed by an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The account that signed it.
    pub issuer: String,
    /// The module's own key.
    pub subject: String,
    /// Its name, for people.
    pub name: Option<String>,
    /// What it may be given: `wasmcloud:keyvalue`.
    pub capabilities: Vec<String>,
    /// What other actors may call it by.
    pub call_alias: Option<String>,
    /// Its version, for people.
    pub version: Option<String>,
    /// Seconds since 1970 from which it holds.
    pub not_before: Option<u64>,
    /// Seconds since 1970 until which it holds.
    pub expires: Option<u64>,
    /// What is wrong with it; `None` if the signature, the hash and the times are good.
    pub problem: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Token {
    iss: String,
    sub: String,
    nbf: Option<u64>,
    exp: Option<u64>,
    wascap: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    #[serde(rename = "hash")]
    module_hash: String,
    caps: Option<Vec<String>>,
    ver: Option<String>,
    call_alias: Option<String>,
}

impl Claims {
    /// The claims in a module, checked as of `now` in seconds since 1970; `None` if it has none.
    ///
    /// # Errors
    /// It has claims that cannot be read, or more than one.
    pub(super) fn find(bytes: &[u8], now: u64) -> Result<Option<Self>, String> {
        let Some(sections) = sections(bytes) else { return Ok(None) };
        let mut found = None;
        for section in sections {
            let section = section?;
            let Some((name, token)) = section.custom.filter(|(name, _)| SECTIONS.contains(name)) else { continue };
            if found.is_some() {
                return Err("it has more than one section of claims, and which of them holds is not clear".to_owned());
            }
            found = Some((name, token, section.range));
        }
        let Some((name, token, range)) = found else { return Ok(None) };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(format!(
                "its section `{name}` has {} bytes, and at most {MAX_TOKEN_BYTES} are read",
                token.len()
            ));
        }
        let mut hash = Sha256::new();
        hash.update(bytes.get(..range.start).unwrap_or_default());
        hash.update(bytes.get(range.end..).unwrap_or_default());
        let hash = HEXUPPER.encode(&hash.finalize());
        read(token, &hash, now).map(Some).map_err(|why| format!("its section `{name}` holds no claims: {why}"))
    }

    /// The claims of a module in which there are some that cannot be read, and why: nobody signed them, they allow nothing.
    pub(super) fn unreadable(why: String) -> Self {
        Self {
            issuer: String::new(),
            subject: String::new(),
            name: Some("a module whose claims cannot be read".to_owned()),
            capabilities: Vec::new(),
            call_alias: None,
            version: None,
            not_before: None,
            expires: None,
            problem: Some(why),
        }
    }

    /// What grants are within it.
    pub fn bounds(&self) -> ClaimedBounds {
        let name = harmless(self.name.as_ref().unwrap_or(&self.subject));
        // Claims that were read have an issuer.
        let unreadable = self.problem.as_deref().filter(|_| self.issuer.is_empty()).map(harmless);
        ClaimedBounds { name, words: self.capabilities.iter().map(|word| harmless(word)).collect(), unreadable }
    }
}

/// Reads a token and checks all of it; `hash` is that of the module without claims.
fn read(token: &[u8], hash: &str, now: u64) -> Result<Claims, String> {
    let text = std::str::from_utf8(token).map_err(|_| "it is not text")?.trim();
    let (signed, signature) = text.rsplit_once('.').ok_or("it is no token")?;
    let (header, claims) = signed.split_once('.').ok_or("it is no token")?;
    let header: Header = part(header)?;
    let token: Token = part(claims)?;
    let metadata = token.wascap.ok_or("it says nothing about a module")?;
    let problem = check(&header.alg, &token.iss, signed, signature)
        .and_then(|()| {
            if metadata.module_hash == hash {
                Ok(())
            } else {
                Err("it is of another module: the hash differs, so this one was changed after it was signed".to_owned())
            }
        })
        .and_then(|()| match (token.nbf, token.exp) {
            (Some(from), _) if now < from => Err(format!("it holds from second {from} on, and now is {now}")),
            (_, Some(until)) if now >= until => Err(format!("it held until second {until}, and now is {now}")),
            _ => Ok(()),
        })
        .err();
    Ok(Claims {
        issuer: token.iss,
        subject: token.sub,
        name: metadata.name,
        capabilities: metadata.caps.unwrap_or_default(),
        call_alias: metadata.call_alias,
        version: metadata.ver,
        not_before: token.nbf,
        expires: token.exp,
        problem,
    })
}

fn part<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, String> {
    let json = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| "a part of it is not base 64")?;
    serde_json::from_slice(&json).map_err(|error| format!("a part of it is not as expected: {error}"))
}

fn check(algorithm: &str, issuer: &str, signed: &str, signature: &str) -> Result<(), String> {
    if !algorithm.eq_ignore_ascii_case("Ed25519") {
        return Err(format!("it is signed by `{algorithm}` and not by Ed25519"));
    }
    let key = nkey::account(issuer)?;
    let bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).ok();
    let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
    if signature.is_some_and(|signature| key.verify_strict(signed.as_bytes(), &signature).is_ok()) {
        return Ok(());
    }
    Err(format!("it is not signed by `{issuer}`, which it says it is"))
}
