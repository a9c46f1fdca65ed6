//! T-08, T-29: what contradicts a declaration about a virtual machine.

use upkeep::level::AssuranceLevel::{self, CloudVtpm, Dongle, Hardware, Software};
use upkeep_server::domain::license::VirtualEnvironment::{No, Yes};
use upkeep_server::domain::virtual_machine::contradiction;

#[test]
fn t29_a_physical_machine_shows_no_sign_of_a_virtual_one() {
    let kvm = ["cpuid:KVMKVMKVM".to_owned(), "dmi:QEMU".to_owned()];
    let endorsed: [Option<AssuranceLevel>; 5] = [
        None,
        Some(Software),
        Some(Dongle),
        Some(CloudVtpm),
        Some(Hardware),
    ];
    for (hints, seen) in [(&kvm[..0], false), (&kvm[..1], true), (&kvm[..], true)] {
        for level in endorsed {
            let virtual_tpm = matches!(level, Some(Software | CloudVtpm));
            let found = contradiction(No, hints, level);
            assert_eq!(found.is_some(), seen || virtual_tpm, "{hints:?} {level:?}");
            let text = found.unwrap_or_default();
            assert!(hints.iter().all(|hint| text.contains(hint)), "{text}");
            assert_eq!(text.contains("TPM"), virtual_tpm, "{text}");
            // A chip may be passed through to a virtual machine, and a virtual machine may say what it is.
            assert_eq!(contradiction(Yes, hints, level), None);
        }
    }
}
