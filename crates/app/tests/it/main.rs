//! The whole system, in one process or as real processes, against the simulator.

mod alerts;
mod browser;
mod chromium;
mod credentials;
mod desk;
mod doctor;
mod edges;
mod heal;
mod kills;
mod large;
mod laws;
mod life;
mod load;
mod metrics;
mod onboarding;
mod outage;
mod pages;
mod pair;
mod pitfalls;
mod public_address;
mod real_mail;
mod rebuilt;
mod seek;
mod sign_in;
mod take_in;
