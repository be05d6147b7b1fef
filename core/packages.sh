# The Debian packages that core/run, tests/run and bench/run install or unpack; sourced by each.
# install_packages build|test|bench: installs what is missing, says so, asks nothing.
# unpack_packages FOLDER PACKAGE…: puts programs below FOLDER without installing them.

packages_build="gcc cmake ninja-build pkg-config libssl-dev libuv1-dev libcurl4-openssl-dev libmsgpack-dev
  librocksdb-dev node-llhttp libjansson-dev libzip-dev libjemalloc-dev openssl ca-certificates"
packages_test="$packages_build clang clang-format libclang-rt-14-dev llvm-14 libcmocka-dev python3 python3-pytest
  python3-pytest-xdist python3-cryptography python3-asn1crypto certmonger curl git"
packages_bench="$packages_build python3 python3-cryptography strace"

# What the end-to-end tests have OCSP answers checked by, and enroll with. They are unpacked: installed, some would start
# services.
packages_checkers="gnutls-bin nginx stunnel4 freeradius eapoltest strongswan-pki libstrongswan-standard-plugins
  libstrongswan-extra-plugins"

# as_root COMMAND…: with sudo where the user is not root.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null && sudo "$@"
  fi
}

install_packages() {
  local list missing="" package
  case "$1" in
    build) list=$packages_build ;;
    test) list=$packages_test ;;
    bench) list=$packages_bench ;;
  esac
  for package in $list; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    echo "These packages are missing and need root to install:$missing" >&2
    return 1
  fi
  echo "Installing:$missing"
  as_root apt-get update -qq
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# Downloads the packages, with what they need and this machine lacks, and unpacks them below the folder. Nothing is
# installed: no service starts, no user is made, root is not needed. What is installed already is not unpacked.
unpack_packages() {
  local folder=$1
  shift
  [ "$(cat "$folder/.unpacked" 2>/dev/null)" != "$*" ] || return 0
  echo "Unpacking into $folder: $*"
  rm -rf "$folder"
  mkdir -p "$folder/download"
  (cd "$folder/download" && download_packages "$@" 2>/dev/null) ||
    { as_root apt-get update -qq && (cd "$folder/download" && rm -f ./*.deb && download_packages "$@"); } || return 1
  find "$folder/download" -name '*.deb' -exec dpkg -x {} "$folder" \; || return 1
  rm -r "$folder/download"
  echo "$*" >"$folder/.unpacked"
}

# In the current folder: the packages that an installation would add, without those that it would only upgrade.
download_packages() {
  local plan missing
  plan=$(apt-get install --simulate --no-install-recommends "$@") || return 1
  missing=$(awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' <<<"$plan")
  # shellcheck disable=SC2086
  [ -z "$missing" ] || apt-get download -qq $missing
}
