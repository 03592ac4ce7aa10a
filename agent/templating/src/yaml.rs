//! YAML 1.1 text of values and back, as `sigs.k8s.io/yaml` has it.
