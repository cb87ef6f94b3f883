//! The policy decision point: bundles, Cedar, guards, mapping
