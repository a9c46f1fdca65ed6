//! What some rigs need of the machine: root, loop devices, file systems, a C compiler. Where it is missing, a test says so.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use upkeep_server::store::{Options, Store, StoreError};

/// True if `present`; else says what does not run, and fails where that variable is set.
pub(crate) fn able(what: &str, present: bool, required: &str) -> bool {
    if !present {
        eprintln!("SKIPPED: {what}");
        assert!(
            std::env::var_os(required).is_none(),
            "{required} is set, but: {what}"
        );
    }
    present
}

pub(crate) fn has(programs: &[&str]) -> bool {
    programs.iter().all(|program| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
            .any(|dir| dir.join(program).is_file())
    })
}

/// True if this process may mount.
pub(crate) fn is_root() -> bool {
    output("id", &["-u"]).trim() == "0"
}

/// Runs a program that must succeed.
pub(crate) fn sh(program: &str, arguments: &[&str]) {
    output(program, arguments);
}

fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A file system that is unmounted when dropped.
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// `mount` with these arguments; the last one is the directory, which is made.
    pub(crate) fn new(arguments: &[&str], at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mut all = arguments.to_vec();
        all.push(at.to_str().unwrap());
        sh("mount", &all);
        Self { at: at.to_owned() }
    }

    pub(crate) fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.at).status();
        if !done.is_ok_and(|status| status.success()) {
            // Something in it is still open: it goes with the last user.
            let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// An empty file of this size, without its blocks.
pub(crate) fn sparse(path: &Path, bytes: u64) {
    File::create(path).unwrap().set_len(bytes).unwrap();
}

/// The library of `shim.c`, built once; none without a C compiler.
pub(crate) fn shim() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reliability/shim.c");
        let dir = TempDir::new().unwrap();
        let library = dir.path().join("shim.so");
        if !has(&["cc"]) || !cfg!(target_os = "linux") {
            return None;
        }
        sh(
            "cc",
            &[
                "-O1",
                "-shared",
                "-fPIC",
                "-o",
                library.to_str().unwrap(),
                source.to_str().unwrap(),
                "-ldl",
            ],
        );
        Some((dir, library))
    });
    built.as_ref().map(|(_, library)| library.as_path())
}

/// The environment that loads the shim with one setting.
pub(crate) fn shimmed(
    shim: &Path,
    path: &str,
    setting: &'static str,
    value: &str,
) -> Vec<(&'static str, OsString)> {
    vec![
        ("LD_PRELOAD", shim.into()),
        ("RIG_PATH", path.into()),
        (setting, value.into()),
    ]
}

/// Opens a store of this process. A child that another test starts at this moment has all of this process's open files, with their
/// locks, until it is the other program.
pub(crate) fn open_store(options: impl Fn() -> Options) -> Result<Store, StoreError> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match Store::open(options()) {
            Err(StoreError::Locked { .. }) if Instant::now() < until => std::thread::yield_now(),
            opened => return opened,
        }
    }
}
