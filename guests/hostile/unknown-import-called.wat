;; Needs a function that no host has, and calls it at once.
(module
  (import "nobody" "knows-this" (func $mystery (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $mystery (i32.const 7)))))
