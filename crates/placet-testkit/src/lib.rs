//! Manual clock, seeded entropy, fakes that speak the real protocol
