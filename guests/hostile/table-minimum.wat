;; Asks for a table of four thousand million elements before it runs.
(module
  (memory (export "memory") 1)
  (table 0xffffffff funcref)
  (func (export "_start")))
