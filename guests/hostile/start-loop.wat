;; Never finishes instantiation: the start function loops, before any export can be called.
(module
  (func $start (loop $again (br $again)))
  (start $start)
  (memory (export "memory") 1)
  (func (export "_start")))
