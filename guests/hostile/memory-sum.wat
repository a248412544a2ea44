;; Two memories that each stay modest and together do not: a limit per memory misses it.
(module
  (memory (export "memory") 1)
  (memory $other 1)
  (func (export "_start")
    (loop $again
      (drop (memory.grow (i32.const 16)))
      (if (i32.eq (memory.grow $other (i32.const 16)) (i32.const -1)) (then unreachable))
      (br $again))))
