#!/usr/bin/env bash
# viper-tls with the published `rustls-rustcrypto` as its provider, on one side, the other, and both.
# Its older dependencies have a lock file of their own.
set -euo pipefail
cd "$(dirname "$0")/../../interop/rustls-rustcrypto"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../../target}/rustls-rustcrypto"
cargo test --locked
