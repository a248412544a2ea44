//! nkeys: Ed25519 keys as wasmCloud and NATS write them, base 32 of a byte for the kind, the key, and a checksum.
//!
//! Facts: the nkeys documentation of NATS. The checksum is CRC-16 (XMODEM), little-endian.

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::VerifyingKey;

/// The byte that makes the first letter `A`.
const ACCOUNT: u8 = 0;

/// Reads the public key of an account: `A...`.
pub(super) fn account(text: &str) -> Result<VerifyingKey, String> {
    let wrong = |why: &str| format!("`{text}` is not the key of an account: {why}");
    let bytes = BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| wrong("it is not base 32"))?;
    let Ok([kind, rest @ ..]) = <&[u8; 35]>::try_from(bytes.as_slice()) else {
        return Err(wrong("it has not 56 letters and digits"));
    };
    let Some((key, checksum)) = rest.split_first_chunk::<32>() else { return Err(wrong("it is too short")) };
    if *kind != ACCOUNT {
        return Err(wrong("an account's begins with `A`"));
    }
    let covered = bytes.get(..33).unwrap_or_default();
    if checksum != crc16(covered).to_le_bytes() {
        return Err(wrong("its checksum is wrong; was a letter lost or changed?"));
    }
    match VerifyingKey::from_bytes(key) {
        Ok(key) if !key.is_weak() => Ok(key),
        _ => Err(wrong("it is no point of its curve")),
    }
}

/// CRC-16 with the polynomial of XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 })
    })
}

/// Writes the public key of an account.
#[cfg(test)]
pub(super) fn write_account(key: &VerifyingKey) -> String {
    let mut bytes = vec![ACCOUNT];
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn an_account_is_read_and_a_slip_is_told() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        let text = write_account(&key);
        assert_eq!(account(&text), Ok(key));
        let slip = format!("{}{}", text.get(..30).unwrap(), text.get(30..).unwrap().replace(['A', 'B', 'C'], "D"));
        assert_ne!(slip, text);
        assert!(account(&slip).unwrap_err().contains("checksum"), "{slip}");
        assert!(account("A").unwrap_err().contains("base 32"));
        assert!(account("AAAAAAAA").unwrap_err().contains("56"));
    }
}
