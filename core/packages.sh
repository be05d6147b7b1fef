# The Debian packages that core/run, tests/run and bench/run install; sourced by each.
# install_packages build|test|bench: installs what is missing, says so, asks nothing.

packages_build="gcc cmake ninja-build pkg-config libssl-dev libuv1-dev libcurl4-openssl-dev libmsgpack-dev
  librocksdb-dev node-llhttp libjansson-dev openssl ca-certificates"
packages_test="$packages_build clang clang-format libclang-rt-14-dev llvm-14 libcmocka-dev python3 python3-pytest
  python3-cryptography python3-asn1crypto certmonger curl"
packages_bench="$packages_build python3 python3-cryptography"

install_packages() {
  local list missing="" package as_root=""
  case "$1" in
    build) list=$packages_build ;;
    test) list=$packages_test ;;
    bench) list=$packages_bench ;;
  esac
  for package in $list; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
    command -v sudo >/dev/null || {
      echo "These packages are missing and need root to install:$missing" >&2
      return 1
    }
  fi
  echo "Installing:$missing"
  export DEBIAN_FRONTEND=noninteractive
  $as_root apt-get update -qq
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
