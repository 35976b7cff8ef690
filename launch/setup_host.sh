#!/bin/bash
# Installs codepmp_jax into $CODEPMP_HOME/.venv, in the versions that it is tested with (requirements.txt).
#
#   codepmp queued-resources --setup launch/setup_host.sh --env CODEPMP_SOURCE=https://HOST/codepmp_jax.git ...
#   docker build .                   runs it in the image
#   CODEPMP_HOME=. bash launch/setup_host.sh    in a checkout
#
# CODEPMP_HOME    folder of the checkout (/opt/codepmp_jax)
# CODEPMP_SOURCE  where the checkout comes from if the folder has none: a git repository, or a gs://...tar.gz made by
#                 `git archive --format=tar.gz -o codepmp_jax.tar.gz HEAD`
# CODEPMP_COMMIT  commit, tag or branch of the repository (its default branch)
# CODEPMP_EXTRAS  extras of the package (tpu,gcs); on GPUs cuda,gcs
# CODEPMP_PYTHON  version of Python (3.11, the tested one), which uv downloads where the machine has another
set -euo pipefail

home=${CODEPMP_HOME:-/opt/codepmp_jax}
extras=${CODEPMP_EXTRAS:-tpu,gcs}
python=${CODEPMP_PYTHON:-3.11}
uv_version=0.13.9

# A machine that boots again has all this.
[ ! -e "$home/.venv/complete" ] || exit 0

if [ ! -f "$home/requirements.txt" ]; then
    source=${CODEPMP_SOURCE:?"$home has no checkout. Remedy: set CODEPMP_SOURCE to a git repository or a gs://...tar.gz"}
    rm -rf "$home.new"
    case "$source" in
    gs://*)
        mkdir -p "$home.new"
        gcloud storage cat "$source" | tar -xz -C "$home.new"
        ;;
    *)
        git clone --quiet "$source" "$home.new"
        git -C "$home.new" checkout --quiet --detach "${CODEPMP_COMMIT:-HEAD}"
        ;;
    esac
    rm -rf "$home"
    mv "$home.new" "$home"
fi
home=$(cd "$home" && pwd)
if [ -e "$home/.venv" ] && [ ! -e "$home/.venv.begun" ]; then
    echo "error: $home/.venv is not of this script. Remedy: remove it, or use it as it is." >&2
    exit 2
fi
touch "$home/.venv.begun"

# Python's own venv and pip do not bring a Python of another version; TPU VMs have 3.10.
if ! command -v uv >/dev/null; then
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet "uv==$uv_version"
    uv() { python3 -m uv "$@"; }
fi
uv venv --quiet --clear --python "$python" "$home/.venv"
uv pip install --quiet --python "$home/.venv/bin/python" --constraint "$home/requirements.txt" \
    "codepmp_jax[$extras] @ file://$home"

# Ends with an error where something is missing.
"$home/.venv/bin/codepmp" train --config pmp_7b --print-config >/dev/null
uv pip list --quiet --python "$home/.venv/bin/python" | grep -E "^(codepmp|jax|libtpu|flax|optax|orbax|grain)"
touch "$home/.venv/complete"
