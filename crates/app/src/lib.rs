//! The wiring of Postroom: configuration, effects, commands, and the `World` in
//! which simulator, engine and pages run in one process for demo and tests.
//!
//! The only place where clock, randomness and environment are read.

pub mod alerts;
pub mod cli;
pub mod commands;
pub mod config;
pub mod effects;
pub mod organization;
pub mod sample;
pub mod server;
pub mod system;
pub mod world;
