;; A component of a thousand instances of one module, each with a memory: small to write, large to instantiate.
;; The text is short because instantiation is nested: 10 x 10 x 10.
(component
  (component $ten
    (core module $leaf (memory (export "memory") 16))
    (core instance (instantiate $leaf)) (core instance (instantiate $leaf)) (core instance (instantiate $leaf))
    (core instance (instantiate $leaf)) (core instance (instantiate $leaf)) (core instance (instantiate $leaf))
    (core instance (instantiate $leaf)) (core instance (instantiate $leaf)) (core instance (instantiate $leaf))
    (core instance (instantiate $leaf)))
  (component $hundred
    (alias outer 1 $ten (component $ten))
    (instance (instantiate $ten)) (instance (instantiate $ten)) (instance (instantiate $ten))
    (instance (instantiate $ten)) (instance (instantiate $ten)) (instance (instantiate $ten))
    (instance (instantiate $ten)) (instance (instantiate $ten)) (instance (instantiate $ten))
    (instance (instantiate $ten)))
  (instance (instantiate $hundred)) (instance (instantiate $hundred)) (instance (instantiate $hundred))
  (instance (instantiate $hundred)) (instance (instantiate $hundred)) (instance (instantiate $hundred))
  (instance (instantiate $hundred)) (instance (instantiate $hundred)) (instance (instantiate $hundred))
  (instance (instantiate $hundred)))
