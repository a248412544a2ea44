;; Writes 64 MiB to stdout without a single line end.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\00\01\00\00\00\00\01\00")
  (func (export "_start") (local $left i32)
    (memory.fill (i32.const 256) (i32.const 97) (i32.const 65536))
    (local.set $left (i32.const 1024))
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))
