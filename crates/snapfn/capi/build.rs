//! The shared library is installed as libsnapfn.so, and programs name it so.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsnapfn.so.0");
}
