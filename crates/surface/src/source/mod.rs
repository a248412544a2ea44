//! From a reference to a module's bytes, and who vouches for them: what `run`, `serve` and every other command load by.
//!
//! A file is read, and nothing else happens: no network, no store, no thread. Everything else goes through one client and one
//! store of the process, made when the first needs them. What is verified is what is returned: a tag is resolved once, and
//! from then on only digests are asked for.

mod published;
mod show;

use std::{path::Path, sync::OnceLock};

use anyhow::Context as _;
use bytes::Bytes;
use samara_artifact::{
    Error, Fetcher, Progress, Reference, Store,
    bounds::Bounds,
    registry::{Client, RegistrySettings},
    trust::{Asked, Signer, Trust, Verdict},
};
use samara_model::{
    Capability, ClaimedBounds, Grants, TrustPolicy,
    manifest::{self, Host},
};

pub use published::Published;
pub(crate) use show::shown;

/// Where artifacts come from, what they may cost, and what they must show. One for a process.
#[derive(Debug, Default)]
pub struct Sources {
    settings: RegistrySettings,
    bounds: Bounds,
    trust: Trust,
    fetcher: OnceLock<Fetcher>,
}

/// A module with what is known of where it came from.
#[derive(Clone, Debug)]
pub struct Sourced {
    /// The module.
    pub bytes: Bytes,
    /// Where it came from.
    pub provenance: Provenance,
}

/// Where a module came from, and who vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// As it was asked for.
    pub reference: String,
    /// The digest of the manifest that was asked for, which is what signatures are over; `None` for a file or a URL.
    pub manifest: Option<String>,
    /// Whose signatures or claims a policy believes.
    pub signers: Vec<Signer>,
    /// What the claims in it allow, if it has any.
    pub claims: Option<ClaimedBounds>,
}

/// What a look at an artifact came to.
#[derive(Debug)]
pub struct Looked {
    /// The module; `None` if it was refused before it was fetched.
    pub bytes: Option<Bytes>,
    /// Whether it may run.
    pub verdict: Verdict,
}

impl Sources {
    /// Nothing is asked or opened yet.
    pub fn new(settings: RegistrySettings, trust: Trust) -> Self {
        Self { settings, bounds: Bounds::default(), trust, fetcher: OnceLock::new() }
    }

    /// The sources of a host: its registries, its bounds, and its `[trust]` as the floor of everything that is loaded.
    ///
    /// # Errors
    /// A key that the host file names cannot be read.
    pub fn of_host(host: &Host, insecure: &[String], offline: bool, trust: Option<&Path>) -> anyhow::Result<Self> {
        let mut settings = RegistrySettings {
            hosts: host.registries.clone(),
            offline: offline || host.artifacts.offline,
            ..RegistrySettings::default()
        };
        for name in insecure {
            settings.hosts.entry(name.clone()).or_default().insecure = true;
        }
        let origin = host.file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        let mut floor = Trust::default().and(&origin, &host.trust)?;
        if let Some(file) = trust {
            floor = floor.and_file(file)?;
        }
        if let Some(timeout) = host.artifacts.verify_timeout {
            floor = floor.within(timeout);
        }
        Ok(Self { bounds: Bounds::of(&host.artifacts), ..Self::new(settings, floor) })
    }

    /// What must hold for everything that is loaded.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The module that a reference names, if every policy is content: those of the process, and the app's own.
    ///
    /// # Errors
    /// It is not there, is not what it says, is not WebAssembly, or is not trusted.
    pub async fn load(&self, reference: &Reference, app: Option<(&str, &TrustPolicy)>) -> anyhow::Result<Sourced> {
        let mut trust = self.trust.clone();
        if let Some((origin, policy)) = app {
            trust = trust.and(origin, policy)?;
        }
        let trust = &trust;
        let look = |progress| async move { self.look(reference, trust, &progress).await };
        let looked = shown(&reference.to_string(), look).await?;
        let verdict = looked.verdict.into_accepted()?;
        let bytes = looked.bytes.context("it was accepted and not fetched")?;
        Ok(Sourced { bytes, provenance: Provenance::of(reference, verdict) })
    }

    /// Looks at an artifact and at who vouches for it. That it is not trusted is a verdict and no error.
    ///
    /// # Errors
    /// It is not there, is not what it says, or is not WebAssembly.
    pub async fn look(&self, reference: &Reference, trust: &Trust, progress: &Progress) -> anyhow::Result<Looked> {
        match reference {
            Reference::File(path) => {
                let bytes = crate::deploy::read_artifact(path)?;
                let asked = Asked { reference, documents: &[], repository: None };
                let verdict = trust.verify(asked, &bytes).await?;
                Ok(Looked { bytes: Some(bytes), verdict })
            }
            _ => {
                // It holds what a pull is at: too much for the stack of every caller.
                let looked = Box::pin(self.fetcher()?.look(reference, trust, progress)).await?;
                Ok(Looked { bytes: looked.module.map(|module| module.bytes), verdict: looked.verdict })
            }
        }
    }

    /// What fetches whatever is not a file.
    ///
    /// # Errors
    /// There is no place for its store, or it is somebody else's.
    pub fn fetcher(&self) -> Result<&Fetcher, Error> {
        if let Some(fetcher) = self.fetcher.get() {
            return Ok(fetcher);
        }
        let store = Store::open_default()?;
        let client = Client::new(self.settings.clone());
        Ok(self.fetcher.get_or_init(|| Fetcher { client, store, bounds: self.bounds }))
    }
}

/// The reference behind a manifest's `source`.
///
/// # Errors
/// It is none.
pub fn reference(source: &manifest::Source) -> Result<Reference, Error> {
    Reference::parse_in(&source.text, &source.folder)
}

impl Provenance {
    /// What is known of an artifact once its verdict is.
    pub(crate) fn of(reference: &Reference, verdict: Verdict) -> Self {
        Self {
            reference: reference.to_string(),
            manifest: verdict.manifest,
            signers: verdict.signers,
            claims: verdict.claims.map(|claims| claims.bounds()),
        }
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "reference": self.reference, "manifest": self.manifest, "signers": self.signers })
    }

    /// For people: where it is from, and who vouches for it.
    pub fn to_text(&self) -> String {
        let mut text = format!("from    {}\n", samara_telemetry::sanitize(&self.reference));
        if let Some(manifest) = &self.manifest {
            text.push_str(&format!("        {manifest}\n"));
        }
        for signer in &self.signers {
            let who = samara_telemetry::sanitize(&signer.who).into_owned();
            text.push_str(&format!("signed  {who} ({})\n", signer.evidence));
        }
        text
    }

    /// Whether the claims in the module allow what it is granted, and to be sent requests if it is.
    ///
    /// # Errors
    /// They do not; the message names the claim that would.
    pub fn allows(&self, grants: &Grants, serves_http: bool) -> Result<(), String> {
        let Some(claims) = &self.claims else { return Ok(()) };
        for capability in Capability::ALL.iter().filter(|capability| grants.has(**capability)) {
            claims.allows(*capability)?;
        }
        if serves_http { claims.serves_http() } else { Ok(()) }
    }
}
