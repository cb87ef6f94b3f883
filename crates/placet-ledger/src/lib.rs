//! A C2SP transparency log over opaque bytes
