// A core module from AssemblyScript: numbers only, no runtime, no imports.

export function add(a: i32, b: i32): i32 {
  return a + b;
}

export function gcd(a: i64, b: i64): i64 {
  while (b != 0) {
    const rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

export function mean(a: f64, b: f64): f64 {
  return (a + b) / 2.0;
}

export function clamp(value: f32, low: f32, high: f32): f32 {
  return max(low, min(high, value));
}

// Of the Collatz sequence: a loop whose length the input hides.
export function steps(start: u32): u32 {
  let count: u32 = 0;
  for (let n: u64 = start; n > 1; n = n % 2 == 0 ? n / 2 : 3 * n + 1) count++;
  return count;
}
