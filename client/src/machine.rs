//! What an unprivileged process sees of a virtual machine: claims that travel with a request, beside what the customer declares (T-29).
//!
//! Each one speaks for a virtual machine; what says nothing or speaks against one is left out. A machine can hide all of them, and a
//! physical machine that runs Hyper-V shows one, so they prove nothing: the server compares them with the declaration. No program is
//! started for them, such as `systemd-detect-virt`: a child that is being born would hold the store's lock for a moment.

use std::fs;

/// At most 8 claims of at most 64 bytes, such as `cpuid:KVM`, in an order that does not change between calls.
pub(crate) fn virtual_machine_hints() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let found = [
        hypervisor().and_then(|name| hint("cpuid", &name)),
        dmi("dmi-vendor", &read("/sys/class/dmi/id/sys_vendor")),
        dmi("dmi-product", &read("/sys/class/dmi/id/product_name")),
        hint("sys-hypervisor", &read("/sys/hypervisor/type")),
    ];
    found.into_iter().flatten().collect()
}

/// Who answers for a hypervisor in CPUID (leaf 0x40000000), where the processor shows the hypervisor bit. Containers do not mask it.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn hypervisor() -> Option<String> {
    let info = raw_cpuid::CpuId::new().get_hypervisor_info()?;
    Some(format!("{:?}", info.identify()))
}

/// The flag that Linux shows for a hypervisor it knows of.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
fn hypervisor() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    cpuinfo
        .split_ascii_whitespace()
        .any(|flag| flag == "hypervisor")
        .then(|| "hypervisor".to_owned())
}

/// A maker or product of virtual machines; one of real machines is no claim.
fn dmi(source: &str, text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let is_virtual = VIRTUAL.iter().any(|name| lower.contains(name));
    is_virtual.then(|| hint(source, text)).flatten()
}

/// `source:text` in visible ASCII, cut to what the server reads.
fn hint(source: &str, text: &str) -> Option<String> {
    let text: String = text
        .trim()
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .collect();
    if text.is_empty() {
        return None;
    }
    let mut hint = format!("{source}:{text}");
    hint.truncate(MAX_LEN);
    Some(hint)
}

/// Parts of what the firmware of a virtual machine calls itself, in lower case.
const VIRTUAL: [&str; 15] = [
    "qemu",
    "kvm",
    "vmware",
    "virtualbox",
    "innotek",
    "virtual machine",
    "xen",
    "bochs",
    "bhyve",
    "parallels",
    "openstack",
    "amazon ec2",
    "google compute engine",
    "alibaba cloud",
    "digitalocean",
];
const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_few_short_and_the_same_each_time() {
        let hints = virtual_machine_hints();
        assert!(hints.len() <= 8);
        for hint in &hints {
            assert!(hint.len() <= 64 && hint.contains(':'), "{hint:?}");
        }
        assert_eq!(virtual_machine_hints(), hints);
    }

    #[test]
    fn only_what_speaks_for_a_virtual_machine_is_a_claim() {
        assert_eq!(dmi("dmi-vendor", "Dell Inc.\n"), None);
        assert_eq!(dmi("dmi-vendor", ""), None);
        assert_eq!(
            dmi("dmi-vendor", "QEMU\n").as_deref(),
            Some("dmi-vendor:QEMU")
        );
        assert_eq!(
            dmi("dmi-product", "VMware Virtual Platform\u{7}").as_deref(),
            Some("dmi-product:VMware Virtual Platform")
        );
        assert_eq!(hint("x", &"y".repeat(100)).map(|hint| hint.len()), Some(64));
    }
}
