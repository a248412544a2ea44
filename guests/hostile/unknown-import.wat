;; Needs a function that no host has; calls it only when asked to.
(module
  (import "nobody" "knows-this" (func $mystery (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start"))
  (func (export "ask") (result i32) (call $mystery (i32.const 7))))
