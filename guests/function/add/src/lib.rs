//! Plain numeric exports of a core module without imports: what `samara call` and `POST /add` need.

#[unsafe(no_mangle)]
pub extern "C" fn add(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}

/// Exponential on purpose: `fib(30)` is a known amount of work.
#[unsafe(no_mangle)]
pub extern "C" fn fib(n: i32) -> i32 {
    if n < 2 { n } else { fib(n - 1).wrapping_add(fib(n - 2)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn factorial(n: i64) -> i64 {
    (1..=n).fold(1, i64::wrapping_mul)
}

#[unsafe(no_mangle)]
pub extern "C" fn hypotenuse(a: f64, b: f64) -> f64 {
    (a * a + b * b).sqrt()
}

#[unsafe(no_mangle)]
pub extern "C" fn half(a: f32) -> f32 {
    a / 2.0
}

/// Traps when `b` is zero, as the machine does.
#[unsafe(no_mangle)]
pub extern "C" fn divide(a: i32, b: i32) -> i32 {
    match a.checked_div(b) {
        Some(quotient) => quotient,
        None => std::arch::wasm32::unreachable(),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nothing() {}

#[unsafe(no_mangle)]
pub extern "C" fn spin() {
    let mut turns = 0u32;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}
