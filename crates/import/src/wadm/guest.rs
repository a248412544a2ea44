//! A component as a workload.

use super::model::Component;
use crate::draft::{Draft, Origin, Workload};

/// Adds the workload of a component; `None` if it has no image that can be fetched, which has been noted.
pub(super) fn add(component: &Component<'_>, draft: &mut Draft) -> Option<()> {
    let Some(image) = &component.image else {
        component.item.lost("the component", "it has no `image`");
        return None;
    };
    let mut workload = Workload {
        name: component.legal_name.clone(),
        origin: Origin::from(&component.item),
        source: source(image.text()?),
        ..Workload::default()
    };
    workload.grants.config = component.config.all().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for secret in &component.secrets {
        let variable = environment(&secret.name);
        let why = format!(
            "it is kept elsewhere ({}); here it is read from the environment variable `{variable}`",
            secret.place
        );
        secret.item.changed("a secret", &why);
        workload.grants.secrets.push((secret.name.clone(), format!("env:{variable}")));
    }
    match component.instances {
        Some(0) => {
            component.item.changed("no instances", "it is not started there; here it is, when something calls it");
        }
        Some(count) => workload.limits.push(("concurrency", count.to_string())),
        None => {}
    }
    draft.workloads.push(workload);
    Some(())
}

/// A source as a native manifest writes it.
fn source(image: &str) -> String {
    match image.strip_prefix("file://") {
        Some(path) if path.starts_with(['/', '.']) => path.to_owned(),
        Some(path) => format!("./{path}"),
        None if image.contains("://") => image.to_owned(),
        None => format!("oci://{image}"),
    }
}

/// The environment variable that stands in for a secret.
pub(super) fn environment(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(legal).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("SECRET_{name}") } else { name }
}
