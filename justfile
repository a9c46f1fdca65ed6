# The entrance to every check; each recipe is a line or two. `just` alone lists them.
default:
    @just --list

# Start a server with sample licenses.
dev *args:
    sh scripts/dev.sh {{args}}

# Everything that CI runs.
test *args:
    sh scripts/test.sh {{args}}

fmt:
    cargo fmt --all
    buf format -w

lint:
    cargo clippy --workspace --all-targets -- --deny warnings
    buf lint

# Rewrite golden files and vectors; read the diff before you commit it.
bless:
    UPKEEP_BLESS=1 TRYCMD=overwrite cargo test --workspace

# Licenses, advisories, sources (cargo install cargo-deny).
deny:
    cargo deny check

doc:
    cargo doc --workspace --no-deps

# What calls cost the server beside their floor: `just bench --quick`, `just bench --data /a/real/disk --json figures.json`.
bench *args:
    cargo build --release -p upkeep-bench -p upkeep-server -p upkeep-client
    cargo run --release --package upkeep-bench -- {{args}}
