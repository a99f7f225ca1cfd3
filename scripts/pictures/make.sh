#!/usr/bin/env bash
# Makes the pictures of README: top.svg from answers that record.sh has recorded, prompt.svg from a prompt in a terminal.
# The tests hold that they show what lode shows now.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LODE_PICTURES=write
cargo test --quiet --bin lode top::tests::screens
cargo test --quiet --test prompt terminals_show_what_they_should
