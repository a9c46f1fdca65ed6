//! Compiles `proto/upkeep/v1/*.proto` with protox, so that nobody needs protoc, and keeps the descriptor set for reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Messages that carry a secret: they get no derived `Debug`, which would print it.
const SECRET_BEARING: &[&str] = &[
    "upkeep.v1.Credential",
    "upkeep.v1.RedeemUpgradeCodeRequest",
    "upkeep.v1.CreateLicenseRequest",
    "upkeep.v1.CreateLicenseResponse",
    "upkeep.v1.LicenseRow",
    "upkeep.v1.GetActivationCodeResponse",
    "upkeep.v1.RedeemUpgradeCodeResponse",
    "upkeep.v1.ActivateResponse",
    "upkeep.v1.UpgradeCode",
    "upkeep.v1.CompleteEnrollmentRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_RPC").is_none() {
        return Ok(());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir("proto/upkeep/v1")? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path.strip_prefix("proto")?.to_path_buf());
        }
    }
    files.sort();

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The encoded set keeps google.api options; the decoded one, good for code generation, has lost them.
    fs::write(
        out.join("upkeep_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .skip_debug(SECRET_BEARING.iter().copied())
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
