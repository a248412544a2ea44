//! Fails three functions deep, built with line tables: what backtraces with files and lines are tested on.
//!
//! `fall(depth)` calls itself `depth` times and traps; `spin(0)` never ends, for profiles and CPU limits.
#![no_std]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

#[inline(never)]
fn bottom(depth: u32) -> u32 {
    if core::hint::black_box(depth) == 0 {
        core::arch::wasm32::unreachable()
    }
    stairs(depth - 1) + 1
}

#[inline(never)]
fn stairs(depth: u32) -> u32 {
    bottom(core::hint::black_box(depth)) + 1
}

#[unsafe(no_mangle)]
pub extern "C" fn fall(depth: u32) -> u32 {
    stairs(depth) + 1
}

#[inline(never)]
fn work(round: u32) -> u32 {
    (0..1000).fold(round, |sum, step| core::hint::black_box(sum.wrapping_mul(31).wrapping_add(step)))
}

#[unsafe(no_mangle)]
pub extern "C" fn spin(rounds: u32) -> u32 {
    let mut sum = 0;
    let mut round: u32 = 0;
    loop {
        sum = work(core::hint::black_box(sum));
        round = round.wrapping_add(1);
        if round == rounds {
            return sum;
        }
    }
}
