//! A handler for Spin before there were components, as its SDK of 2023 laid it out (that one was never published as a crate): the
//! types of today's `fermyon:spin` in the memory layout of wit-bindgen 0.2.
//!
//! `/echo` tells what it was given, `/count/KEY` counts in the default store, `/variable/NAME` reads a variable, `/fetch` asks
//! for the URL in its body, and `/nothing` answers with the status 1000.

use std::{alloc::Layout, ptr, slice};

#[link(wasm_import_module = "key-value")]
unsafe extern "C" {
    #[link_name = "open"]
    fn kv_open(name: *const u8, length: usize, result: *mut u32);
    #[link_name = "get"]
    fn kv_get(store: u32, key: *const u8, length: usize, result: *mut u32);
    #[link_name = "set"]
    fn kv_set(store: u32, key: *const u8, length: usize, value: *const u8, value_length: usize, result: *mut u32);
    #[link_name = "close"]
    fn kv_close(store: u32);
}

#[link(wasm_import_module = "spin-config")]
unsafe extern "C" {
    #[link_name = "get-config"]
    fn get_config(key: *const u8, length: usize, result: *mut u32);
}

#[link(wasm_import_module = "wasi-outbound-http")]
unsafe extern "C" {
    #[link_name = "request"]
    fn send(
        method: u32,
        uri: *const u8,
        uri_length: usize,
        headers: *const Pair,
        header_count: usize,
        params: *const Pair,
        param_count: usize,
        has_body: u32,
        body: *const u8,
        body_length: usize,
        result: *mut u32,
    );
}

/// An element of a list of pairs of texts.
#[repr(C)]
struct Pair {
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
}

/// What the host allocates with, by the name that it had then.
#[unsafe(export_name = "canonical_abi_realloc")]
unsafe extern "C" fn reallocate(old: *mut u8, old_length: usize, align: usize, length: usize) -> *mut u8 {
    if length == 0 {
        return ptr::without_provenance_mut(align);
    }
    let layout = |length| Layout::from_size_align(length, align).expect("a layout");
    // SAFETY: the host hands back what this gave it.
    unsafe {
        if old_length == 0 {
            std::alloc::alloc(layout(length))
        } else {
            std::alloc::realloc(old, layout(old_length), length)
        }
    }
}

/// What the host of then freed with; hosts of now do not.
#[unsafe(export_name = "canonical_abi_free")]
unsafe extern "C" fn free(old: *mut u8, length: usize, align: usize) {
    if length > 0 {
        // SAFETY: as above.
        unsafe { std::alloc::dealloc(old, Layout::from_size_align(length, align).expect("a layout")) }
    }
}

/// A text that the host wrote.
///
/// # Safety
/// It did.
unsafe fn text(at: *const u8, length: usize) -> String {
    // SAFETY: the caller's.
    String::from_utf8_lossy(unsafe { slice::from_raw_parts(at, length) }).into_owned()
}

/// The text in a result: the words at `at` are where and how long.
///
/// # Safety
/// The host wrote it.
unsafe fn text_of(result: &[u32], at: usize) -> String {
    // SAFETY: the caller's.
    unsafe { text(ptr::with_exposed_provenance(result[at] as usize), result[at + 1] as usize) }
}

fn count(key: &str) -> Result<String, String> {
    let mut result = [0_u32; 8];
    // SAFETY: as the interface has it.
    unsafe {
        kv_open("default".as_ptr(), 7, result.as_mut_ptr());
        if result[0] as u8 != 0 {
            return Err(format!("open: error {}", result[1] as u8));
        }
        let store = result[1];
        kv_get(store, key.as_ptr(), key.len(), result.as_mut_ptr());
        let before = match (result[0] as u8, result[1] as u8) {
            (0, _) => text_of(&result, 1),
            // There is no such key.
            (_, 4) => "0".to_owned(),
            (_, error) => return Err(format!("get: error {error}")),
        };
        let now = before.parse::<u64>().map_or(1, |number| number + 1).to_string();
        kv_set(store, key.as_ptr(), key.len(), now.as_ptr(), now.len(), result.as_mut_ptr());
        if result[0] as u8 != 0 {
            return Err(format!("set: error {}", result[1] as u8));
        }
        kv_close(store);
        Ok(now)
    }
}

fn variable(name: &str) -> Result<String, String> {
    let mut result = [0_u32; 8];
    // SAFETY: as the interface has it.
    unsafe {
        get_config(name.as_ptr(), name.len(), result.as_mut_ptr());
        if result[0] as u8 == 0 { Ok(text_of(&result, 1)) } else { Err(text_of(&result, 2)) }
    }
}

fn fetch(uri: &str) -> Result<String, String> {
    let mut result = [0_u32; 8];
    let header = Pair { name: "x-guest".as_ptr(), name_length: 7, value: "spin0".as_ptr(), value_length: 5 };
    // SAFETY: as the interface has it.
    unsafe {
        send(0, uri.as_ptr(), uri.len(), &header, 1, ptr::null(), 0, 0, ptr::null(), 0, result.as_mut_ptr());
        if result[0] as u8 != 0 {
            return Err(format!("error {}", result[1] as u8));
        }
        let body = if result[5] as u8 == 1 { text_of(&result, 6) } else { String::new() };
        Ok(format!("{} {body}", result[1] as u16))
    }
}

/// A list that may not be there.
#[repr(C)]
struct Maybe<T> {
    is_there: u8,
    at: *const T,
    count: usize,
}

/// An answer as the host reads it.
#[repr(C)]
struct Answer {
    status: u16,
    headers: Maybe<Pair>,
    body: Maybe<u8>,
}

#[unsafe(export_name = "handle-http-request")]
unsafe extern "C" fn handle(
    method: u32,
    uri: *const u8,
    uri_length: usize,
    headers: *const Pair,
    header_count: usize,
    params: *const Pair,
    param_count: usize,
    has_body: u32,
    body: *const u8,
    body_length: usize,
) -> *const Answer {
    // SAFETY: the host wrote all of it.
    let (uri, body) =
        unsafe { (text(uri, uri_length), if has_body == 1 { text(body, body_length) } else { "no body".to_owned() }) };
    let pairs = |at: *const Pair, count| -> Vec<String> {
        if count == 0 {
            return Vec::new();
        }
        // SAFETY: as above.
        let pairs = unsafe { slice::from_raw_parts(at, count) };
        let told = |pair: &Pair| unsafe {
            format!("{}={}", text(pair.name, pair.name_length), text(pair.value, pair.value_length))
        };
        pairs.iter().map(told).collect()
    };
    let path = uri.split('?').next().unwrap_or_default().to_owned();
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let told = match first {
        "echo" => {
            let (headers, params) = (pairs(headers, header_count), pairs(params, param_count));
            Ok(format!(
                "method {method}\nuri {uri}\nheaders {}\nparams {}\nbody {body}",
                headers.join(" "),
                params.join(" ")
            ))
        }
        "count" => count(rest),
        "variable" => variable(rest),
        "fetch" => fetch(body.trim()),
        "nothing" => Ok(String::new()),
        _ => Err(format!("no such path: {path}")),
    };
    let (status, body) = match told {
        _ if first == "nothing" => (1000, String::new()),
        Ok(told) => (200, told),
        Err(why) => (500, why),
    };
    let body = body.into_bytes().leak();
    let header = Pair { name: "x-made-by".as_ptr(), name_length: 9, value: "spin0-kit".as_ptr(), value_length: 9 };
    Box::leak(Box::new(Answer {
        status,
        headers: Maybe { is_there: 1, at: Box::leak(Box::new(header)), count: 1 },
        body: Maybe { is_there: 1, at: body.as_ptr(), count: body.len() },
    }))
}
