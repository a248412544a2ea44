;; Traps while it is instantiated.
(module
  (func $start unreachable)
  (start $start)
  (memory (export "memory") 1)
  (func (export "_start")))
