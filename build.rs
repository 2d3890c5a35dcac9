//! Tells cargo what is embedded: `include_dir!` alone does not notice a file that is new or gone.

fn main() {
    println!("cargo::rerun-if-changed=images");
}
