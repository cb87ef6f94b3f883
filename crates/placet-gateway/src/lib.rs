//! Enforcement points over one port, Authority
