;; 4,096 overlapping buffers of almost the whole memory each: 256 MiB from one call, if the host adds them up unwisely 4 GiB.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $at i32)
    (local.set $at (i32.const 0))
    (loop $again
      (i32.store (local.get $at) (i32.const 65536))
      (i32.store offset=4 (local.get $at) (i32.const 65536))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $again (i32.lt_u (local.get $at) (i32.const 32768))))
    (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 4096) (i32.const 40000)))))
