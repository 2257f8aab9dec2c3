//! Stops with one clear line if the browser assets have not been fetched.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=assets/dist");
    println!("cargo::rerun-if-changed=assets/src");
    println!("cargo::rerun-if-changed=locales");
    println!("cargo::rerun-if-changed=templates");
    for name in ["htmx.min.js", "sse.min.js"] {
        if !Path::new("assets/dist").join(name).is_file() {
            println!("cargo::error=the browser assets are missing: run `cargo xtask assets` first");
            return;
        }
    }
}
