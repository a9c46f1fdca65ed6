//! Tests of the whole attester against a TPM that talks nonsense: no answer makes it panic.

use std::io;

use proptest::prelude::*;
use upkeep_swtpm::{Ca, SoftwareTpm};

use super::channel::Channel;
use super::transport::{self, Transport};
use super::{Tpm, TpmKey};

const Q: [u8; 32] = [7; 32];

/// A well-framed response around each of these bodies, and nothing when they are used up.
struct Noise(Vec<Vec<u8>>);

impl Transport for Noise {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let body = self.0.pop().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut response = command[..2].to_vec();
        response.extend((body.len() as u32 + 10).to_be_bytes());
        response.extend([0; 4]);
        response.extend(body);
        Ok(response)
    }
}

/// A TPM whose answer number `which` arrives changed.
struct Mangler {
    tpm: Box<dyn Transport>,
    which: usize,
    how: fn(&mut Vec<u8>),
}

impl Transport for Mangler {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let mut response = self.tpm.transmit(command)?;
        if self.which == 0 {
            (self.how)(&mut response);
            let size = response.len() as u32;
            if let Some(field) = response.get_mut(2..6) {
                field.copy_from_slice(&size.to_be_bytes());
            }
        }
        self.which = self.which.wrapping_sub(1);
        Ok(response)
    }
}

fn tpm(transport: impl Transport + 'static) -> Tpm {
    Tpm {
        channel: Channel::with_pause(Box::new(transport), |_| ()),
    }
}

/// One of each call; what they answer is no matter.
fn everything(tpm: &mut Tpm, key: &TpmKey) {
    let _ = tpm.facts();
    let _ = tpm.prepare("acme", "other");
    let _ = tpm.certify(key, &Q);
    let _ = tpm.sign(key, &Q);
    let _ = tpm.heartbeat(key, &Q);
    let _ = tpm.is_alive(key);
    let _ = tpm.retire(key, &Q);
    // This one can only fail: the credential is none.
    assert!(tpm.activate_credential(key, &[1; 52], &[2; 256]).is_err());
}

#[test]
fn an_answer_that_is_cut_short_panics_nowhere() {
    let cuts: [fn(&mut Vec<u8>); 4] = [
        |response| response.truncate(response.len() - 1),
        |response| response.truncate(response.len() / 2),
        |response| response.push(0),
        |response| response.clear(),
    ];
    let Some(mut machine) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let address = machine.address().parse().unwrap();
    let key = Tpm::open(&address)
        .unwrap()
        .prepare("acme", "license")
        .unwrap()
        .key;
    for how in cuts {
        for which in 0..40 {
            let mut tpm = tpm(Mangler {
                tpm: transport::open(&address).unwrap(),
                which,
                how,
            });
            everything(&mut tpm, &key);
        }
    }
    // Keys whose handles were cut off stayed loaded; nothing else is left of it.
    machine.kill();
    machine.start();
    assert!(
        Tpm::open(&address)
            .unwrap()
            .prepare("acme", "license")
            .is_ok()
    );
}

proptest! {
    #[test]
    fn noise_panics_nowhere(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..40)) {
        let key = key();
        everything(&mut tpm(Noise(bodies)), &key);
    }
}

/// A key as a file may hold it; no TPM made it.
fn key() -> TpmKey {
    let seed = upkeep::key::SigningKey::from_seed(&[1; 32]).unwrap();
    let mut public = upkeep::tpm::template::device_key([0; 32]);
    if let upkeep::tpm::PublicKeyArea::Ecc { x, y, .. } = &mut public.key {
        *x = seed.public_key().x().to_vec();
        *y = seed.public_key().y().to_vec();
    }
    TpmKey::new(
        "acme",
        upkeep::tpm::template::EkKind::Rsa2048,
        upkeep::tpm::Name::from_digest([3; 32]),
        vec![1; 100],
        public.to_bytes(),
        upkeep::tpm::template::counter(0x0180_0001, true),
        1,
    )
    .unwrap()
}
