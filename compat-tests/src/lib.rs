//! Namespaces, spawning and packet comparison for the end-to-end tests.
