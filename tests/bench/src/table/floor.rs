//! What no server can do without, measured bare.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};

use crate::figures::{Single, Spread};
use crate::{count, cpu, micros};

/// CPU time of one verification and one signature, in microseconds, over 0.3 s.
pub(super) fn crypto() -> anyhow::Result<f64> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let public =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref().to_vec());
    let message = [7_u8; 700];
    let signed = key.sign(&random, &message)?;
    let (cpu, until) = (
        cpu::of_this_thread()?,
        Instant::now() + Duration::from_millis(300),
    );
    let mut done = 0_usize;
    while Instant::now() < until {
        for _ in 0..16 {
            public.verify(&message, signed.as_ref())?;
            key.sign(&random, &message)?;
        }
        done += 16;
    }
    Ok(micros(cpu::of_this_thread()?.saturating_sub(cpu)) / count(done))
}

/// A loop of 4 KiB writes, each with its own sync, into a file that does not grow: what the disk allows without groups.
pub(super) fn sync(data: Option<&Path>) -> anyhow::Result<Single> {
    let mut file: File = match data {
        Some(path) => tempfile::tempfile_in(path)?,
        None => tempfile::tempfile()?,
    };
    let block = vec![7; BLOCK];
    for _ in 0..BLOCKS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let mut took = Vec::new();
    for number in 0..SYNCS {
        let at = u64::try_from(number % BLOCKS * BLOCK)?;
        file.seek(SeekFrom::Start(at))?;
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(micros(began.elapsed()));
    }
    Ok(Single {
        name: "fdatasync_us",
        title: "a bare write and fdatasync on the same disk".into(),
        value: Spread::of(took.into_iter()),
        unit: "us",
        goal: None,
    })
}

const BLOCK: usize = 4096;
const BLOCKS: usize = 256;
const SYNCS: usize = 500;
