//! What a new Spin SDK 7 project with a Redis trigger does: it prints the message. One that is `fail` fails; any other is kept
//! in the store `default`, if there is one, under `last`.

use spin_sdk::{key_value::Store, redis_subscriber};

#[redis_subscriber]
async fn on_message(message: Vec<u8>) -> Result<(), spin_sdk::redis::Error> {
    let text = String::from_utf8_lossy(&message);
    println!("{text}");
    if text == "fail" {
        return Err(spin_sdk::redis::Error::Other("told to fail".to_owned()));
    }
    if let Ok(store) = Store::open_default().await {
        store.set("last", &message).await.map_err(|error| spin_sdk::redis::Error::Other(format!("{error:?}")))?;
    }
    Ok(())
}
