//! Configuration values: from the manifest, from files that are watched, from the environment, from directories of files.
