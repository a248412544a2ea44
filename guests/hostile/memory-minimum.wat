;; Asks for the whole 4 GiB before it runs.
(module
  (memory (export "memory") 65536)
  (func (export "_start")))
