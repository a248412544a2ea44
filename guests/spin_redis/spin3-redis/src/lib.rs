//! What a new Spin SDK 3 project with a Redis trigger does: it prints the message. One that is `fail` fails; any other is kept
//! in the store `default`, if there is one, under `last`.

use anyhow::{Result, bail};
use bytes::Bytes;
use spin_sdk::{key_value::Store, redis_component};

#[redis_component]
fn on_message(message: Bytes) -> Result<()> {
    let text = String::from_utf8_lossy(&message);
    println!("{text}");
    if text == "fail" {
        bail!("told to fail");
    }
    if let Ok(store) = Store::open_default() {
        store.set("last", &message)?;
    }
    Ok(())
}
