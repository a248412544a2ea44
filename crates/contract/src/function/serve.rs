//! Finds the function, reads the arguments as its parameters, calls it, writes the result.

use std::collections::BTreeMap;

use async_trait::async_trait;
use samara_inspect::{Module, Signature};
use samara_model::{Call, Encoding, Fault, Function, Reply};
use samara_runtime::{After, Failure, Guest, Live, Ready, ReplyTo, instantiating, trace};
use serde_json::Value;
use wasmtime::component::{Component, ComponentExportIndex, Val, types::ComponentFunc, types::ComponentItem};

use super::{NOT_FUNCTIONS, codec, only_numbers};
use codec::Arguments;

/// Functions that an error lists.
const LISTED: usize = 12;

/// The functions of a core module.
pub(super) struct CoreFunctions {
    pre: wasmtime::InstancePre<Guest>,
    functions: BTreeMap<String, Signature>,
    /// A reactor's constructor.
    initialize: bool,
}

impl CoreFunctions {
    pub(super) fn new(pre: wasmtime::InstancePre<Guest>, module: &Module) -> Self {
        let function = |export: &samara_inspect::Export| {
            let signature = module.exports_function(&export.name)?;
            Some((export.name.clone(), signature.clone()))
        };
        let functions: BTreeMap<_, _> = module.exports.iter().filter_map(function).collect();
        let initialize = functions.get("_initialize").is_some_and(|ty| ty.is(&[], &[]));
        Self { pre, functions, initialize }
    }

    fn list(&self) -> String {
        let shown = self.functions.iter().filter(|(name, ty)| {
            !NOT_FUNCTIONS.contains(&name.as_str()) && only_numbers(&ty.params) && only_numbers(&ty.results)
        });
        list(shown.map(|(name, ty)| format!("{name}{ty}")))
    }
}

#[async_trait]
impl Ready for CoreFunctions {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let call = function(call)?;
        let name = &call.operation;
        let signature = self.functions.get(name).ok_or_else(|| unknown(name, &self.list()))?;
        let bad = |why: String| bad_arguments(&why, name, &signature.to_string());
        let arguments = Arguments::read(&call.payload, call.encoding).map_err(bad)?;
        // Core parameters have no names: the order decides.
        let names = vec![""; signature.params.len()];
        let arguments = match arguments {
            Arguments::Text(pairs) => Arguments::Text(pairs.into_iter().map(|(_, text)| (String::from("-"), text)).collect()),
            Arguments::Named(_) => return Err(bad("the parameters of a core function have no names: give a JSON array".into()).into()),
            ordered @ Arguments::Json(_) => ordered,
        };
        let arguments = arguments.arrange(&names).map_err(bad)?;
        let values = arguments.iter().zip(&signature.params).map(|(argument, ty)| argument.to_core(*ty));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(bad)?;

        let store = &mut live.store;
        let instance = match live.instance.take().and_then(|kept| kept.downcast::<wasmtime::Instance>().ok()) {
            Some(instance) => *instance,
            None => {
                let instance = instantiating(self.pre.instantiate_async(&mut *store)).await?;
                if self.initialize {
                    trace::to_guest("_initialize", format_args!(""));
                    instance.get_typed_func::<(), ()>(&mut *store, "_initialize")?.call_async(&mut *store, ()).await?;
                    trace::from_guest(format_args!(""));
                }
                instance
            }
        };
        let callee = instance.get_func(&mut *store, name).ok_or_else(|| unknown(name, &self.list()))?;
        let mut results = vec![wasmtime::Val::I32(0); signature.results.len()];
        trace::to_guest(name, format_args!("{}", trace::list(&values, |value| Some(codec::core_to_json(value).ok()?.to_string()))));
        callee.call_async(&mut *store, &values, &mut results).await?;
        let results = results.iter().map(codec::core_to_json).collect::<Result<Vec<_>, _>>().map_err(Fault::Guest)?;
        let text = match (results.as_slice(), call.encoding) {
            ([], Encoding::Wave) => String::new(),
            ([], _) => "null".to_owned(),
            ([one], _) => text_of(one, call.encoding),
            (many, Encoding::Wave) => format!("({})", many.iter().map(|one| text_of(one, call.encoding)).collect::<Vec<_>>().join(", ")),
            (many, _) => Value::Array(many.to_vec()).to_string(),
        };
        trace::from_guest(format_args!("{text}"));
        reply.send(Reply::Bytes(text.into()));
        live.instance = Some(Box::new(instance));
        Ok(After::Keep)
    }
}

/// JSON quotes `nan` and `inf`, WAVE does not.
fn text_of(value: &Value, encoding: Encoding) -> String {
    match (value, encoding) {
        (Value::String(text), Encoding::Wave) => text.clone(),
        (value, _) => value.to_string(),
    }
}

/// The functions of a component.
pub(super) struct ComponentFunctions {
    /// What becomes of an instance: tasks of a concurrent one may still be running after its reply.
    after: After,
    pre: wasmtime::component::InstancePre<Guest>,
    functions: BTreeMap<String, (ComponentExportIndex, ComponentFunc)>,
}

impl ComponentFunctions {
    pub(super) fn new(pre: wasmtime::component::InstancePre<Guest>, component: &Component, concurrency: bool) -> Self {
        let engine = component.engine();
        let mut functions = BTreeMap::new();
        for (name, item) in component.component_type().exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(ty) => {
                    if let Some(index) = component.get_export_index(None, name) {
                        functions.insert(name.to_owned(), (index, ty));
                    }
                }
                ComponentItem::ComponentInstance(instance) => {
                    let Some(parent) = component.get_export_index(None, name) else { continue };
                    for (function, item) in instance.exports(engine) {
                        if let (ComponentItem::ComponentFunc(ty), Some(index)) = (item.ty, component.get_export_index(Some(&parent), function)) {
                            functions.insert(format!("{name}#{function}"), (index, ty));
                        }
                    }
                }
                _ => {}
            }
        }
        let after = if concurrency { After::Discard } else { After::Keep };
        Self { after, pre, functions }
    }

    /// A function by its full name (`package:name/interface@1.0.0#function`), or without the version, or by its last part
    /// alone, where that is unique.
    fn find(&self, name: &str) -> Option<&(ComponentExportIndex, ComponentFunc)> {
        if let Some(found) = self.functions.get(name) {
            return Some(found);
        }
        let meant = |full: &str| {
            let Some((interface, function)) = full.rsplit_once('#') else { return false };
            let unversioned = interface.split_once('@').map_or(interface, |(interface, _)| interface);
            name == function || name.rsplit_once('#') == Some((unversioned, function))
        };
        let mut found = self.functions.iter().filter(|(full, _)| meant(full));
        let (_, only) = found.next()?;
        if found.next().is_some() { None } else { Some(only) }
    }

    fn list(&self) -> String {
        list(self.functions.iter().map(|(name, (_, ty))| signature(name, ty)))
    }
}

#[async_trait]
impl Ready for ComponentFunctions {
    async fn serve(&self, live: &mut Live, call: Call, reply: ReplyTo) -> Result<After, Failure> {
        let call = function(call)?;
        let name = &call.operation;
        let (index, ty) = self.find(name).ok_or_else(|| unknown(name, &self.list()))?;
        let bad = |why: String| bad_arguments(&why, "", &signature(name, ty));
        let parameters: Vec<_> = ty.params().collect();
        let names: Vec<_> = parameters.iter().map(|(name, _)| *name).collect();
        let arguments = Arguments::read(&call.payload, call.encoding).map_err(bad)?;
        let arguments = arguments.arrange(&names).map_err(bad)?;
        let values = arguments.iter().zip(&parameters).map(|(argument, (_, ty))| argument.to_component(ty));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(bad)?;

        let store = &mut live.store;
        let instance = match live.instance.take().and_then(|kept| kept.downcast::<wasmtime::component::Instance>().ok()) {
            Some(instance) => *instance,
            None => instantiating(self.pre.instantiate_async(&mut *store)).await?,
        };
        let callee = instance.get_func(&mut *store, index).ok_or_else(|| unknown(name, &self.list()))?;
        let mut results = vec![Val::Bool(false); ty.results().len()];
        trace::to_guest(name, format_args!("{}", trace::list(&values, |value| value.to_wave().ok())));
        callee.call_async(&mut *store, &values, &mut results).await?;
        let wave = |value: &Val| value.to_wave().map_err(|error| Fault::Guest(format!("its result has no text form: {error:#}")));
        let text = match (results.first(), call.encoding) {
            (None, Encoding::Wave) => String::new(),
            (None, _) => "null".to_owned(),
            (Some(result), Encoding::Wave) => wave(result)?,
            (Some(result), _) => codec::to_json(result).map_err(Fault::Guest)?.to_string(),
        };
        trace::from_guest(format_args!("{text}"));
        reply.send(Reply::Bytes(text.into()));
        live.instance = Some(Box::new(instance));
        Ok(self.after)
    }
}

fn function(call: Call) -> Result<Function, Fault> {
    match call {
        Call::Function(call) => Ok(call),
        _ => Err(Fault::Host("a function contract was given another shape of call".into())),
    }
}

/// A function as WIT writes it: `greet(name: string) -> string`.
fn signature(name: &str, ty: &ComponentFunc) -> String {
    let parameters: Vec<_> = ty.params().map(|(name, ty)| format!("{name}: {}", codec::describe(&ty))).collect();
    let result = ty.results().next().map(|ty| format!(" -> {}", codec::describe(&ty))).unwrap_or_default();
    format!("{name}({}){result}", parameters.join(", "))
}

fn list(functions: impl Iterator<Item = String>) -> String {
    let mut functions: Vec<_> = functions.collect();
    let more = functions.len().saturating_sub(LISTED);
    functions.truncate(LISTED);
    if more > 0 {
        functions.push(format!("and {more} more"));
    }
    functions.join(", ")
}

fn unknown(name: &str, known: &str) -> Fault {
    Fault::Caller { status: 404, message: format!("there is no function `{name}`; this module has: {known}") }
}

fn bad_arguments(why: &str, name: &str, signature: &str) -> Fault {
    Fault::bad_request(format!("{why}; the function is `{name}{signature}`"))
}
