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

# What an activation costs beside the floor of its cryptography.
bench *args:
    cargo run --release --package upkeep-bench -- {{args}}
