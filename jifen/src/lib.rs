//! The mall as a program: configuration, telemetry, the command line. Everything else is in the other crates.

pub mod check;
pub mod commands;
pub mod config;
pub mod development;
pub mod instance;
pub mod telemetry;
