//! Manifests of other hosts, read into the app that Samara would have been given: what cannot be carried over is listed, not dropped.
