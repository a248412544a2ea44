;; Grows a table until growth is refused; then traps.
(module
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func (export "_start")
    (loop $again
      (if (i32.eq (table.grow $table (ref.null func) (i32.const 65536)) (i32.const -1)) (then unreachable))
      (br $again))))
