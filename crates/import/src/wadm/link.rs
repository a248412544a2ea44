//! Links: what a component is given, and what starts it.

use super::{
    guest,
    model::{Component, Link},
    provider::{self, Provider},
};
use crate::{
    document::Item,
    draft::{Draft, Grants, Origin, Starts, Target, Trigger},
};

/// Makes workloads of the components and of their links what they mean.
pub(super) fn join(components: &[Component<'_>], draft: &mut Draft) {
    for component in components.iter().filter(|component| !component.is_provider) {
        guest::add(component, draft);
    }
    for component in components {
        for link in &component.links {
            one(component, link, components, draft);
            for secret in &link.secrets {
                let why = format!(
                    "it is kept elsewhere ({}); the settings of the store take one, by `env:NAME`",
                    secret.place
                );
                secret.item.lost(&format!("the secret `{}`", secret.name), &why);
            }
            let why = "nothing here has such a setting";
            link.source_values.finish("a setting", why);
            link.target_values.finish("a setting", why);
        }
    }
    for provider in components.iter().filter(|component| component.is_provider) {
        let linked =
            !provider.links.is_empty() || components.iter().any(|c| c.links.iter().any(|l| l.target == provider.name));
        if Provider::of(provider).is_none() {
            provider.item.lost(
                &format!("the provider `{}`", provider.image_name()),
                "it is a program of its own, and not one that something here stands in for",
            );
        } else if !linked {
            provider.item.info("the provider", "nothing is linked with it");
        }
        for secret in &provider.secrets {
            secret.item.lost(
                &format!("the secret `{}`", secret.name),
                "what stands in for the provider takes its secrets in the settings of a store, by `env:NAME`",
            );
        }
        provider.config.finish("a setting of the provider", "nothing here has such a setting");
    }
}

fn one(source: &Component<'_>, link: &Link<'_>, components: &[Component<'_>], draft: &mut Draft) {
    let Some(target) = components.iter().find(|component| component.name == link.target) else {
        link.item.lost(&link.shown(), &format!("its target `{}` is not in the manifest", link.target));
        return;
    };
    match (source.is_provider, target.is_provider) {
        (false, false) => link.item.lost(
            &link.shown(),
            "components are not composed while they are loaded; compose them first (`wac plug`) and name the result as the source",
        ),
        (true, true) => link.item.lost(&link.shown(), "providers are part of this host and are not linked with each other"),
        (false, true) => to_provider(source, link, target, draft),
        (true, false) => from_provider(source, link, target, draft),
    }
}

/// What a component asks of a provider: a grant.
fn to_provider(guest: &Component<'_>, link: &Link<'_>, target: &Component<'_>, draft: &mut Draft) {
    let lost = |why: &str| link.item.lost(&link.shown(), why);
    let Some(provider) = Provider::of(target) else {
        return lost(&format!("nothing here stands in for the provider `{}`", target.image_name()));
    };
    if draft.workload(&guest.legal_name).is_none() {
        return lost("the component is not carried over");
    }
    if provider == Provider::HttpClient {
        let Some(workload) = draft.workload(&guest.legal_name) else { return };
        return any_origin(&link.item, &link.shown(), &mut workload.grants);
    }
    // The name by which a guest opens a key-value store is that of the link; the others are not opened by name.
    let asked = if link.package == "wasi:keyvalue" { link.name } else { target.legal_name.as_str() };
    let Some(name) = provider::store(provider, link, target, asked, draft) else { return };
    let Some(workload) = draft.workload(&guest.legal_name) else { return };
    let grants = &mut workload.grants;
    match link.package.as_str() {
        "wasi:keyvalue" if provider.is_kv() => Grants::add(&mut grants.kv, &name),
        "wasi:blobstore" if provider.is_blob() => Grants::add(&mut grants.blob, &name),
        "wasmcloud:postgres" if provider == Provider::Postgres => Grants::add(&mut grants.sql, &name),
        "wasmcloud:messaging" if provider == Provider::MessagingNats => {
            Grants::add(&mut grants.bus(&name).publish, ">");
            link.item.changed(&link.shown(), "it may publish to every subject, as it could; name those it needs");
        }
        _ => lost(&format!("the store `{name}` is there, and not granted: nothing is known of this interface")),
    }
}

/// Requests to anywhere.
fn any_origin(item: &Item<'_>, shown: &str, grants: &mut Grants) {
    for rule in ["https://*", "http://*"] {
        Grants::add(&mut grants.http, rule);
    }
    item.changed(shown, "it may ask every public host, as it could; name those it needs");
}

/// What a provider calls a component for: a trigger.
fn from_provider(source: &Component<'_>, link: &Link<'_>, guest: &Component<'_>, draft: &mut Draft) {
    let lost = |why: &str| link.item.lost(&link.shown(), why);
    let Some(provider) = Provider::of(source) else {
        return lost(&format!("nothing here stands in for the provider `{}`", source.image_name()));
    };
    if draft.workload(&guest.legal_name).is_none() {
        return lost("the component is not carried over");
    }
    let target = guest.legal_name.clone();
    let origin = Origin::from(&link.item);
    if provider == Provider::HttpServer && link.is_of("wasi:http", &["incoming-handler"]) {
        let Some((starts, deadline)) = provider::route(link, source) else { return };
        let same = draft.triggers.iter().find(|trigger| trigger.starts == starts);
        if let Some(other) = same.filter(|trigger| trigger.target != Target::Workload(target.clone())) {
            let why = format!(
                "`{}` has all these requests already: hosts and paths tell workloads apart here, not ports; give one a host (`routing_mode: host`) or a path",
                other.target
            );
            return lost(&why);
        }
        if let (Some(deadline), Some(workload)) = (deadline, draft.workload(&target)) {
            workload.limits.push(("deadline", format!("\"{deadline}ms\"")));
        }
        draft.triggers.push(Trigger { origin, starts, target: Target::Workload(target), held_back: None });
    } else if provider == Provider::MessagingNats && link.is_of("wasmcloud:messaging", &["handler"]) {
        let Some(store) = provider::store(provider, link, source, &source.legal_name, draft) else { return };
        for subject in provider::subjects(link) {
            if let Some(workload) = draft.workload(&target) {
                Grants::add(&mut workload.grants.bus(&store).subscribe, &subject);
            }
            let starts = Starts::Subject { subject, store: store.clone() };
            let (origin, target) = (origin.clone(), Target::Workload(target.clone()));
            draft.triggers.push(Trigger { origin, starts, target, held_back: None });
        }
    } else {
        lost("nothing here calls this interface");
    }
}
