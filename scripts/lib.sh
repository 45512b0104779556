# SPDX-License-Identifier: Apache-2.0
# Shared by quickstart and test; sourced, not run. Everything here is quick when there is nothing to do.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 3; }

# What building needs on Debian 12, by apt name.
BUILD_PACKAGES="g++ cmake ninja-build ccache mold git ca-certificates pkg-config python3 python3-venv
  nlohmann-json3-dev libcli11-dev libexpected-dev catch2
  libssl-dev libzstd-dev libpcre2-dev libsqlite3-dev libyaml-cpp-dev"
# What the tests need on top: a compiler for the runner of aarch64 hosts and something to run it on; an SSH server; Slurm; MPI; an
# engine with what it needs for containers; for tests/e2e/test_frameworks.py PyTorch (217 MB with all it depends on; the wheel of the index
# brings gigabytes of CUDA) and images to train Chainer with (31 MB).
TEST_PACKAGES="clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev strace procps util-linux groff-base
  g++-aarch64-linux-gnu qemu-user-static openssh-server openssh-client iproute2 openmpi-bin mpich
  podman runc busybox-static fish csh tcsh catatonit conmon netavark python3-torch dataset-fashion-mnist python3-mpi4py
  slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge"

# What only scripts/test --nightly needs: Slurm's accounting with its database.
NIGHTLY_PACKAGES="mariadb-server slurmdbd slurm-wlm-mysql-plugin"

# Prints those of the given packages that are not installed.
missing_packages() {
  local package
  declare -A there=()
  while read -r state package; do
    [ "$state" = ii ] && there[$package]=1
  done < <(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null)
  for package in "$@"; do [ -n "${there[$package]:-}" ] || printf '%s ' "$package"; done
}

# Installs what is missing; as root, else through sudo. Does nothing, and asks nothing, when all is there.
need_packages() {
  command -v dpkg-query >/dev/null || { say "not a Debian system: expecting the tools of docs/quickstart.md to be installed"; return 0; }
  local missing as=()
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing and there is no sudo; as root: apt-get install $missing"
    as=(sudo)
  fi
  say "installing with apt: $missing"
  local log
  log=$(mktemp)
  # shellcheck disable=SC2086  # a list of words
  if ! { "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends $missing ||
    { "${as[@]}" apt-get -o DPkg::Lock::Timeout=600 update &&
      "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends $missing; }; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    die "apt-get could not install: $missing"
  fi
  rm -f "$log"
}

# Makes uv available on PATH: the one that is there, else one from pip in a virtual environment of its own. Only uv goes on
# PATH, not that environment's python.
need_uv() {
  command -v uv >/dev/null && return 0
  if [ ! -x "$REPO/build/uv/path/uv" ]; then
    say "installing uv (it makes the Python environments of runs) into build/uv"
    python3 -m venv "$REPO/build/uv" && "$REPO/build/uv/bin/python" -m pip install -q --disable-pip-version-check uv ||
      die "uv could not be installed with pip; is there a network?"
    mkdir -p "$REPO/build/uv/path"
    ln -sf ../bin/uv "$REPO/build/uv/path/uv"
  fi
  export PATH="$REPO/build/uv/path:$PATH"
}

# Docker's client alone, for tests that point it at podman's socket: the package as a whole starts a daemon and sets firewall rules.
need_docker_client() {
  command -v docker >/dev/null || command -v dpkg-deb >/dev/null || return 0
  local folder=$REPO/build/docker
  if ! command -v docker >/dev/null && [ ! -x "$folder/usr/bin/docker" ]; then
    say "unpacking docker's client into build/docker"
    mkdir -p "$folder"
    (cd "$folder" && apt-get -q download docker.io && dpkg-deb -x docker.io_*.deb . && rm -f docker.io_*.deb) >"$folder/log" 2>&1 || {
      tail -n 5 "$folder/log" >&2
      die "apt-get could not download docker.io"
    }
  fi
}

# A virtual environment at $1 with the requirements file $2, made again only when that file changed.
need_venv() {
  local sum
  sum=$(sha256sum <"$2")
  [ "$(cat "$1/.requirements" 2>/dev/null)" = "$sum" ] && return 0
  say "making the Python environment of the tests in ${1#"$REPO"/}"
  python3 -m venv --clear "$1" && "$1/bin/python" -m pip install -q --disable-pip-version-check -r "$2" ||
    die "the Python packages of ${2#"$REPO"/} could not be installed; is there a network?"
  printf '%s\n' "$sum" >"$1/.requirements"
}

# Objects are shared over presets and work trees wherever their flags agree.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$REPO} CCACHE_NOHASHDIR=1
# They hide missing flushes and missing byte code.
unset PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE
