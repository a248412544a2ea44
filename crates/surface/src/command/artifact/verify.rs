//! `samara verify`: who vouches for an artifact, step by step, and whether that is enough.

use std::{path::PathBuf, process::ExitCode};

use anyhow::anyhow;
use clap::Args;
use comfy_table::{Table, presets};
use samara_artifact::trust::{Outcome, Verdict};
use samara_model::{Evidence, Requirement, TrustPolicy, TrustTerms};

use super::{print, usage};
use crate::{
    command::{Failure, OriginArgs, block_on, origin},
    source::shown,
};

/// Arguments of `samara verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What to verify
    #[arg(value_name = "REF")]
    pub reference: String,
    /// A public key; a cosign signature by one of those given is required
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Where it comes from, and what else is required.
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// Looks at everything there is, and says whether it is enough: exit code 0 if it is, 1 if not.
    ///
    /// # Errors
    /// The artifact is not there or not what it says; nothing was required.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let verdict = block_on(self.verify())??;
        if self.json {
            let json = serde_json::to_string_pretty(&verdict).map_err(|error| Failure::Other(error.into()))?;
            print(&json);
        } else {
            print(&table(&verdict));
        }
        if verdict.policies.is_empty() && verdict.damage.is_none() {
            return Err(Failure::Usage(anyhow!(
                "nothing was required, and so nothing is trusted; name a key with `--key` or a policy with `--trust`"
            )));
        }
        Ok(ExitCode::from(u8::from(!verdict.accepted)))
    }

    async fn verify(&self) -> Result<Verdict, Failure> {
        let (reference, sources) = (origin::reference(&self.reference)?, self.origin.sources()?);
        let mut trust = sources.trust().clone();
        if !self.key.is_empty() {
            let terms = TrustTerms {
                require: Requirement::Show(Evidence::Cosign),
                keys: self.key.clone(),
                ..TrustTerms::default()
            };
            trust = trust.and("--key", &TrustPolicy { terms, rules: Vec::new() }).map_err(usage)?;
        }
        let trust = &trust.thorough();
        let (reference, sources) = (&reference, &sources);
        let look = |progress| async move { sources.look(reference, trust, &progress).await };
        Ok(shown(&self.reference, look).await?.verdict)
    }
}

fn table(verdict: &Verdict) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut row = |mark: &str, what: String, text: &str| {
        table.add_row([mark.to_owned(), what, samara_telemetry::sanitize(text).into_owned()]);
    };
    for step in &verdict.steps {
        let mark = match step.outcome {
            Outcome::Good => "ok",
            Outcome::Bad => "BAD",
            Outcome::Absent => "none",
            Outcome::Note => "",
        };
        row(mark, step.evidence.map(|evidence| evidence.to_string()).unwrap_or_default(), &step.text);
    }
    for policy in &verdict.policies {
        let rule = policy.rule.as_ref().map(|rule| format!(" for `{rule}`")).unwrap_or_default();
        let text = format!("`{}` requires {}{rule}", policy.origin, policy.require);
        row(if policy.met { "met" } else { "NOT MET" }, "policy".to_owned(), &text);
        for missing in &policy.missing {
            row("missing", missing.evidence.to_string(), &missing.why);
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let end = match (verdict.policies.is_empty(), verdict.accepted) {
        _ if verdict.damage.is_some() => "damaged",
        (true, _) => "not decided",
        (false, true) => "trusted",
        (false, false) => "not trusted",
    };
    let manifest = verdict.manifest.as_ref().map(|digest| format!(" ({digest})")).unwrap_or_default();
    let head = samara_telemetry::sanitize(&verdict.reference).into_owned();
    format!("{}\n{head}{manifest}: {end}", table.trim_fmt())
}
