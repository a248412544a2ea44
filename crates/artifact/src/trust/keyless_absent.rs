//! What stands in for `keyless.rs` in a program that was built without it: a policy that asks for it is refused by name.

use std::path::Path;

use bytes::Bytes;
use oci_spec::image::Digest;
use samara_model::Identity;

use crate::Error;

/// A trusted root, of which there is none here.
#[derive(Clone, Debug)]
pub(super) enum Root {}

impl Root {
    pub(super) fn load(_: &Path) -> Result<Self, Error> {
        Err(Error::Invalid(
            "a policy asks for `keyless`, which this program was built without; build it with `--features keyless`, or take \
             the word out of `[trust]`"
                .to_owned(),
        ))
    }

    #[expect(clippy::unused_async, reason = "so is the other one")]
    pub(super) async fn verify(&self, _: &Bytes, _: &Digest) -> Result<Result<Identity, String>, Error> {
        match *self {}
    }
}
