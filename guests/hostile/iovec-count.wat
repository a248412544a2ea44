;; Hands fd_write an array of 2^32 - 1 buffers: the array alone is longer than the memory. Exits with the error it gets.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8)))))
