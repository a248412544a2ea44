//! Functions over every sort of WIT type, in a component that imports no function: no WASI, no host, only the types' names.

#![no_std]
extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::sync::atomic::{AtomicU32, Ordering};

wit_bindgen::generate!({ world: "shapes", path: "shapes.wit" });

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// The canonical ABI's allocator. With the standard library wasi-libc brings it.
///
/// # Safety
///
/// `old` is null, or came from this function with `old_size` and `align`.
#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(old_size, align) else { core::arch::wasm32::unreachable() };
    let moved = match (old_size, size) {
        (_, 0) => return core::ptr::without_provenance_mut(align),
        // SAFETY: the layout has a size that is not zero; the caller vouches for `old`.
        (0, _) => unsafe { alloc::alloc::alloc(Layout::from_size_align_unchecked(size, align)) },
        (_, _) => unsafe { alloc::alloc::realloc(old, layout, size) },
    };
    if moved.is_null() { core::arch::wasm32::unreachable() } else { moved }
}

struct Shapes;

impl Guest for Shapes {
    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }

    fn shout(text: String, times: u8) -> Vec<String> {
        (0..times).map(|_| text.to_uppercase()).collect()
    }

    fn move_(p: Point, dx: i32) -> Point {
        Point { x: p.x.wrapping_add(dx), y: p.y }
    }

    fn area(of: Shape) -> f64 {
        match of {
            Shape::Circle(radius) => core::f64::consts::PI * radius * radius,
            Shape::Rectangle((width, height)) => width * height,
            Shape::Empty => 0.0,
        }
    }

    fn divide(a: f64, b: f64) -> Result<f64, String> {
        if b == 0.0 { Err("division by zero".to_string()) } else { Ok(a / b) }
    }

    fn check(even: u32) -> Result<(), String> {
        if even % 2 == 0 { Ok(()) } else { Err(format!("{even} is odd")) }
    }

    fn sum(values: Vec<u32>) -> u64 {
        values.into_iter().map(u64::from).sum()
    }

    fn swap((text, number): (String, i64)) -> (i64, String) {
        (number, text)
    }

    fn first(values: Vec<String>) -> Option<String> {
        values.into_iter().next()
    }

    fn next_color(after: Color) -> Color {
        match after {
            Color::Red => Color::Green,
            Color::Green => Color::Blue,
            Color::Blue => Color::Red,
        }
    }

    fn invert(given: Permissions) -> Permissions {
        !given
    }

    fn next_char(after: char) -> Option<char> {
        char::from_u32(u32::from(after) + 1)
    }

    fn negate(value: bool) -> bool {
        !value
    }

    fn widest(a: u8, b: u16, c: u32, d: u64) -> u64 {
        d.max(c.into()).max(b.into()).max(a.into())
    }

    fn smallest(a: i8, b: i16, c: i32, d: i64) -> i64 {
        d.min(c.into()).min(b.into()).min(a.into())
    }

    fn half(value: f32) -> f32 {
        value / 2.0
    }

    fn reverse(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }

    fn birthday(who: Person) -> Person {
        Person { age: who.age.saturating_add(1), ..who }
    }

    fn nothing() {}

    fn trap() {
        core::arch::wasm32::unreachable()
    }

    fn spin() {
        let mut turns = 0u32;
        loop {
            turns = core::hint::black_box(turns.wrapping_add(1));
        }
    }

    /// 1 in every fresh instance.
    fn count() -> u32 {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        CALLS.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl exports::samara::shapes::named::Guest for Shapes {
    fn point_at(x: i32, y: i32) -> Point {
        Point { x, y }
    }
}

export!(Shapes);
