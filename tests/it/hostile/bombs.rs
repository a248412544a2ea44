//! Modules that are small to send and dear to compile, and one that is not what it says.

use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, Module, TypeSection, ValType,
};

use crate::samara;

/// A command of one function with these locals and this body, beside an empty function 0.
fn command(locals: u32, body: impl FnOnce(&mut Function)) -> Vec<u8> {
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    types.ty().function([], []);
    functions.function(0).function(0);
    exports.export("_start", ExportKind::Func, 1);
    let mut empty = Function::new([]);
    empty.instructions().end();
    let mut main = Function::new([(locals, ValType::I32)]);
    body(&mut main);
    main.instructions().end();
    code.function(&empty).function(&main);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// Runs it; it is refused or killed as a bomb, which is the caller's mistake. The worker's own limits bound the wait: a
/// busy machine may take minutes over seconds of work.
#[track_caller]
fn defused(module: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.wasm");
    std::fs::write(&path, module).unwrap();
    let ran = samara("run").arg(&path).command().output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(2) && said.contains("compiling `sha256:"), "{:?} {said}", ran.status);
}

#[test]
fn branches_over_many_locals_are_refused_or_killed() {
    defused(&command(200, |main| {
        let mut code = main.instructions();
        for n in 0..100_000 {
            code.local_get(n % 200).if_(BlockType::Result(ValType::I32));
            code.local_get(n * 7 % 200).else_().local_get(n * 13 % 200).end();
            code.local_set(n * 31 % 200);
        }
    }));
}

#[test]
fn a_million_calls_in_one_function_are_refused_or_killed() {
    defused(&command(0, |main| {
        let mut code = main.instructions();
        for _ in 0..1_000_000 {
            code.call(0);
        }
    }));
}

/// The engine once believed what a component said of its callback's type, and wrote past the end of its own stack.
#[test]
fn a_callback_of_another_type_is_refused() {
    let text = r#"(component
        (core module $m
          (func (export "f") (result i32) (i32.const 0))
          (func (export "callback") (param i32 i32 i32) (result i32 i32) (i32.const 0) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export "f") async (canon lift (core func $i "f") async (callback (func $i "callback")))))"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callback.wat");
    std::fs::write(&path, text).unwrap();
    samara("call").arg(&path).arg("f").fails(2, "`callback` uses a core function with an incorrect signature");
}
