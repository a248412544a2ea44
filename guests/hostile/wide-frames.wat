;; Recursion with results that stay alive across the call: each frame is large, so the stack ends after few calls.
(module
  (memory (export "memory") 1)
  (func $deeper (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64 i64 i64 i64 i64 i64 i64 i64)
    (call $deeper (local.get 7) (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6))
    (drop) (local.get 0))
  (func (export "_start")
    (call $deeper (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7))
    (drop) (drop) (drop) (drop) (drop) (drop) (drop) (drop)))
