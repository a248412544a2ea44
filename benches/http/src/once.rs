//! What happens once: starting a server from the code cache, and reading a large module.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ExportKind, ExportSection, Function, FunctionSection, MemorySection,
    MemoryType, Module, NameMap, NameSection, TypeSection, ValType,
};

use crate::{rounds::median, server::Recipe};

/// Starts of each program; the median counts.
const STARTS: usize = 15;
/// Functions of the large module, and operations in each: about 4 MB of code, 0.3 MB of names, 1 MB of data.
const FUNCTIONS: u32 = 8_000;
const OPERATIONS: u32 = 60;
const DATA_BYTES: usize = 1 << 20;

/// From starting the process to its first whole answer. The first start, which fills caches, is not counted.
pub(crate) fn first_answer(recipe: &Recipe, core: usize) -> anyhow::Result<Duration> {
    recipe.start(core)?;
    let times: Vec<f64> =
        (0..STARTS).map(|_| Ok(recipe.start(core)?.first_answer.as_secs_f64())).collect::<anyhow::Result<_>>()?;
    Ok(Duration::from_secs_f64(median(times)))
}

/// `samara inspect` of a large module: the size of the module, and the time until the process has ended.
pub(crate) fn inspect(samara: &Path) -> anyhow::Result<(usize, Duration)> {
    let module = large_module(FUNCTIONS, 0);
    let path = scratch()?.join("large.wasm");
    std::fs::write(&path, &module).with_context(|| format!("writing `{}`", path.display()))?;
    let times: Vec<f64> = (0..STARTS)
        .map(|_| {
            let began = Instant::now();
            let status = Command::new(samara).arg("inspect").arg(&path).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "`samara inspect` failed");
            Ok(began.elapsed().as_secs_f64())
        })
        .collect::<anyhow::Result<_>>()?;
    Ok((module.len(), Duration::from_secs_f64(median(times))))
}

/// Beside this program, which is in cargo's own folder.
pub(crate) fn scratch() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(program.parent().map(Path::to_owned).unwrap_or_default())
}

/// A module of many named functions of arithmetic, and data: about 5 MB for 8,000 functions. Seeds that differ by more
/// than 7 make modules of which no function is the same.
pub(crate) fn large_module(count: u32, seed: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32, ValType::I32], [ValType::I32]);
    let (mut functions, mut code, mut names) = (FunctionSection::new(), CodeSection::new(), NameMap::new());
    for index in 0..count {
        functions.function(0);
        names.append(index, &format!("module::part_{}::function_{index}", index % 97));
        code.function(&body(index.wrapping_add(seed.wrapping_mul(0x9e37))));
    }
    let memory_type = MemoryType { minimum: 32, maximum: None, memory64: false, shared: false, page_size_log2: None };
    let mut memories = MemorySection::new();
    memories.memory(memory_type);
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0);
    let mut data = DataSection::new();
    let data_bytes = DATA_BYTES / FUNCTIONS as usize * count as usize;
    data.active(0, &ConstExpr::i32_const(0), (0..data_bytes).map(|byte| (byte % 251) as u8));
    let mut all_names = NameSection::new();
    all_names.functions(&names);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports).section(&code).section(&data);
    module.section(&all_names);
    module.finish()
}

fn body(index: u32) -> Function {
    let mut body = Function::new([]);
    let mut code = body.instructions();
    code.local_get(0);
    for operation in 0..OPERATIONS {
        let word = i32::from_ne_bytes((index.wrapping_mul(31).wrapping_add(operation) & 0xf_ffff).to_ne_bytes());
        code.local_get(1).i32_const(word).i32_mul().i32_add();
    }
    code.end();
    body
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_large_module_is_about_five_megabytes() {
        let bytes = super::large_module(super::FUNCTIONS, 0).len();
        assert!((4_800_000..5_600_000).contains(&bytes), "{bytes}");
    }
}
