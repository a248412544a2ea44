;; Sleeps for the longest time that preview 1 can say: no guest time passes, only wall time.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))        ;; monotonic clock
    (i64.store (i32.const 24) (i64.const -1))       ;; 2^64 - 1 ns, relative
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))
