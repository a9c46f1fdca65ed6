#![no_main]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use upkeep_client::tpm::{Tpm, TpmAddress};

// A TPM that answers every command with one of these bodies, in a frame that is right, and hangs up when they are used up.
libfuzzer_sys::fuzz_target!(|bodies: Vec<Vec<u8>>| {
    let path = std::env::temp_dir().join(format!("upkeep-fuzz-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let tpm = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for body in bodies {
            if answer(&mut stream, &body).is_none() {
                return;
            }
        }
    });
    let mut client = Tpm::open(&TpmAddress::Unix(path)).unwrap();
    let _ = client.facts();
    let _ = client.prepare("acme", "license");
    drop(client);
    tpm.join().unwrap();
});

fn answer(stream: &mut UnixStream, body: &[u8]) -> Option<()> {
    let mut head = [0; 10];
    stream.read_exact(&mut head).ok()?;
    let size = u32::from_be_bytes(head[2..6].try_into().ok()?);
    let mut rest = vec![0; (size as usize).checked_sub(head.len())?];
    stream.read_exact(&mut rest).ok()?;
    let mut response = head[..2].to_vec();
    response.extend((body.len() as u32 + 10).to_be_bytes());
    response.extend([0; 4]);
    response.extend(body);
    stream.write_all(&response).ok()
}
