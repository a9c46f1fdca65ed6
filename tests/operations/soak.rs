//! Hours of work in small: memory and descriptors stay where they are, and the disk grows by the ledger and its index only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;

use crate::dev::Dev;
use crate::device::{Device, Wish, request_id};
use crate::http::Scrape;

/// CI: 20 s. Soak: `UPKEEP_G15_SECS=86400`, and then the slope is held to 1 MiB an hour.
#[tokio::test(flavor = "multi_thread")]
async fn g15_memory_and_descriptors_stay_and_the_disk_grows_by_the_ledger() {
    let secs = std::env::var("UPKEEP_G15_SECS").map_or(20, |text| text.parse().expect("seconds"));
    let length = Duration::from_secs(secs);
    let dev = Dev::start(&[]);
    let sample = dev.samples["licenses"].as_array().unwrap();
    let license = sample
        .iter()
        .find(|one| one["credential"]["activation_code"].is_string() && one["cover"] == "covered")
        .unwrap();
    let text = |key: &str| license[key].as_str().unwrap().to_owned();
    let code = license["credential"]["activation_code"].as_str().unwrap();
    let wish = Wish {
        serial: text("serial"),
        credential: v1::credential::Secret::ActivationCode(code.to_owned()),
        product: text("product_id"),
        version: dev.text("/products/0/releases/0/version").to_owned(),
    };
    let device = Device::new();
    let request = request_id();
    let before = files_beside_ledger_and_index(&dev.data_dir());

    // One activation, asked for again and again: the work is done, and no new records come of it.
    let started = Instant::now();
    let mut samples = Vec::new();
    let mut next_sample = Duration::ZERO;
    let mut rounds = 0_u64;
    while started.elapsed() < length {
        round(&dev, &device, &wish, &request).await;
        rounds += 1;
        if started.elapsed() >= next_sample {
            let scrape = Scrape::of(dev.ops).await;
            samples.push(Sample {
                at: started.elapsed(),
                resident: scrape.sum("process_resident_memory_bytes", &[]),
                files: scrape.sum("process_open_fds", &[]),
            });
            next_sample += (length / 40).max(Duration::from_millis(250));
        }
    }
    assert!(rounds > 10, "{rounds}");
    // The first third warms caches and the allocator up.
    let steady = &samples[samples.len() / 3..];
    let slope = slope_mib_an_hour(steady);
    let (first, last) = (&steady[0], &steady[steady.len() - 1]);
    let grown = (last.resident - first.resident) / MIB;
    eprintln!(
        "G15: {rounds} rounds in {secs} s, RSS {:.1} MiB, grown {grown:.2} MiB, slope {slope:.1} MiB/h, files {} to {}",
        last.resident / MIB,
        first.files,
        last.files
    );
    match secs {
        // So short that a single page of the allocator is many MiB an hour.
        0..3_600 => assert!(grown <= 8.0, "grew by {grown:.1} MiB"),
        _ => assert!(slope < 1.0, "grows by {slope:.2} MiB an hour"),
    }
    assert!(
        (last.files - first.files).abs() <= 4.0,
        "descriptors are given back"
    );

    let after = files_beside_ledger_and_index(&dev.data_dir());
    assert_eq!(before, after, "nothing else grows");
    dev.stop();
}

/// What a product, a customer and a stranger do; each on connections of their own, which end with it.
async fn round(dev: &Dev, device: &Device, wish: &Wish, request: &str) {
    let channel = dev.products().await;
    let mut api = ActivationServiceClient::new(channel.clone());
    let activated = device.activate(&mut api, wish, request).await.unwrap();
    device
        .verify(&mut api, &activated.activation_id)
        .await
        .unwrap();
    let wrong = Wish {
        credential: v1::credential::Secret::ActivationCode("nonsense".into()),
        ..wish.clone()
    };
    assert!(
        Device::new()
            .activate(&mut api, &wrong, &request_id())
            .await
            .is_err()
    );
    let asked = v1::GetMaintenanceStatusRequest {
        serial: wish.serial.clone(),
    };
    CustomerServiceClient::new(channel)
        .get_maintenance_status(asked)
        .await
        .unwrap();
    let mut noise = TcpStream::connect(dev.text("/products_addr"))
        .await
        .unwrap();
    noise.write_all(b"\x16\x03\x01\x00\x05noise").await.unwrap();
}

struct Sample {
    at: Duration,
    resident: f64,
    files: f64,
}

/// Least squares.
fn slope_mib_an_hour(samples: &[Sample]) -> f64 {
    let n = samples.len() as f64;
    let at = |sample: &Sample| sample.at.as_secs_f64() / 3_600.0;
    let mean_at = samples.iter().map(at).sum::<f64>() / n;
    let mean = samples.iter().map(|one| one.resident / MIB).sum::<f64>() / n;
    let (mut over, mut under) = (0.0, 0.0);
    for sample in samples {
        over += (at(sample) - mean_at) * (sample.resident / MIB - mean);
        under += (at(sample) - mean_at).powi(2);
    }
    over / under
}

fn files_beside_ledger_and_index(data: &Path) -> BTreeMap<String, u64> {
    fn below(dir: &Path, into: &mut BTreeMap<String, u64>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, into);
            } else {
                let bytes = fs::metadata(&path).unwrap().len();
                into.insert(path.display().to_string(), bytes);
            }
        }
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["ledger", "index"].contains(&name.as_str()) {
            below(&path, &mut found);
        }
    }
    found
}

const MIB: f64 = 1_048_576.0;
