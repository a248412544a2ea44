//! Imports that no contract provides become stubs, so that a guest which never calls them runs.
//!
//! SDKs import whole worlds of which a guest uses a few functions. A stub answers with the import's own error where its
//! result has one that says "not here" (a `result` without payload, a text, or a case such as `access-denied`), and
//! otherwise ends the guest with a message that names the import.
//!
//! wasmtime's `define_unknown_imports_as_traps` cannot be used for components: for an import of another patch version it
//! defines a second set of resources beside the real one, and then neither links.

use std::borrow::Cow;

use wasmtime::component::{
    Component, Linker, LinkerInstance, ResourceType, Type, Val,
    types::{ComponentFunc, ComponentInstance, ComponentItem},
};

use crate::{Guest, trace};

/// Names of error cases that say that something is not there or not allowed, best first.
const REFUSALS: &[&str] =
    &["access-denied", "not-permitted", "unsupported", "not-supported", "no-such-store", "denied", "other"];

/// Links a component, with a stub for each import that the linker lacks. Answers with the names of those.
///
/// # Errors
/// An import is there but of another type, which a stub cannot mend.
pub(crate) fn link(
    linker: &Linker<Guest>,
    component: &Component,
) -> wasmtime::Result<(wasmtime::component::InstancePre<Guest>, Vec<String>)> {
    let mut stubbed: Vec<String> = Vec::new();
    let mut linker = Cow::Borrowed(linker);
    loop {
        let error = match linker.instantiate_pre(component) {
            Ok(pre) => return Ok((pre, stubbed)),
            Err(error) => error,
        };
        // The engine names one missing import at a time, and only in its message.
        let text = error.to_string();
        let name = text
            .split('`')
            .nth(1)
            .filter(|name| text.contains("not found in the linker") && !stubbed.iter().any(|known| known == name));
        let (engine, ty) = (component.engine(), component.component_type());
        let Some((name, item)) = name.and_then(|name| ty.imports(engine).find(|(known, _)| *known == name)) else {
            return Err(error);
        };
        let name = name.to_owned();
        match item.ty {
            ComponentItem::ComponentInstance(instance) => {
                stub_instance(&mut linker.to_mut().instance(&name)?, &name, &instance, component)?;
            }
            ComponentItem::ComponentFunc(ty) => stub_function(&mut linker.to_mut().root(), &name, &name, &ty)?,
            _ => return Err(error),
        }
        stubbed.push(name);
    }
}

fn stub_instance(
    linker: &mut LinkerInstance<'_, Guest>,
    name: &str,
    instance: &ComponentInstance,
    component: &Component,
) -> wasmtime::Result<()> {
    for (export, item) in instance.exports(component.engine()) {
        match item.ty {
            ComponentItem::ComponentFunc(ty) => stub_function(linker, export, &format!("{name}#{export}"), &ty)?,
            ComponentItem::Resource(_) => linker.resource(export, ResourceType::host::<()>(), |_, _| Ok(()))?,
            ComponentItem::ComponentInstance(inner) => {
                stub_instance(&mut linker.instance(export)?, export, &inner, component)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn stub_function(
    linker: &mut LinkerInstance<'_, Guest>,
    export: &str,
    name: &str,
    ty: &ComponentFunc,
) -> wasmtime::Result<()> {
    let name = name.to_owned();
    let refusal = ty.results().next().as_ref().and_then(refusal);
    if ty.async_() {
        return linker.func_new_concurrent(export, move |_, _, arguments, results| {
            let answered = answer(arguments, results, refusal.as_ref(), &name);
            Box::pin(async move { answered })
        });
    }
    linker.func_new(export, move |_, _, arguments, results| answer(arguments, results, refusal.as_ref(), &name))
}

fn answer(arguments: &[Val], results: &mut [Val], refusal: Option<&Val>, name: &str) -> wasmtime::Result<()> {
    trace::to_host(name, format_args!("{}", trace::list(arguments, |value| value.to_wave().ok())));
    match (results, refusal) {
        ([result], Some(refusal)) => {
            trace::from_host(format_args!("{}", trace::list(&[refusal], |value| value.to_wave().ok())));
            *result = refusal.clone();
            Ok(())
        }
        _ => Err(wasmtime::format_err!("it called `{name}`, which this host does not provide")),
    }
}

/// The error of a result type that says "not here", if it has one.
fn refusal(ty: &Type) -> Option<Val> {
    let Type::Result(result) = ty else { return None };
    let error = match result.err() {
        None => None,
        Some(ty) => Some(Box::new(refusal_of(&ty)?)),
    };
    Some(Val::Result(Err(error)))
}

fn refusal_of(ty: &Type) -> Option<Val> {
    let text = || Val::String("not provided by this host".to_owned());
    match ty {
        Type::String => Some(text()),
        Type::Enum(cases) => {
            let found = REFUSALS.iter().find(|wanted| cases.names().any(|name| name == **wanted))?;
            Some(Val::Enum((*found).to_owned()))
        }
        Type::Variant(variant) => REFUSALS.iter().find_map(|wanted| {
            let case = variant.cases().find(|case| case.name == *wanted)?;
            match case.ty {
                None => Some(Val::Variant((*wanted).to_owned(), None)),
                Some(Type::String) => Some(Val::Variant((*wanted).to_owned(), Some(Box::new(text())))),
                Some(_) => None,
            }
        }),
        _ => None,
    }
}
