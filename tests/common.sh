# common.sh: what tests/run and tests/demo do before anything else. Sourced, never run.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/lab/cache.sh"

# What the host itself needs: Debian packages, each with a file that tells whether it is there. Everything else is in the lab's tree.
HOST_PACKAGES=(
    mmdebstrap:/usr/bin/mmdebstrap
    debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg
    e2fsprogs:/sbin/mke2fs
    util-linux:/usr/bin/setpriv
    python3:/usr/bin/python3
)

host_setup() {
    local missing=() p
    [ "$(id -u)" = 0 ] || { lab_say "run this as root: it makes a Debian tree and enters it"; return 1; }
    for p in "${HOST_PACKAGES[@]}"; do
        [ -e "${p#*:}" ] || missing+=("${p%%:*}")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        command -v apt-get > /dev/null || { lab_say "missing: ${missing[*]}; this knows how to install them on Debian only"; return 1; }
        lab_say "installing ${missing[*]}"
        DEBIAN_FRONTEND=noninteractive apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" > /dev/null
    fi
}

# A capability that root lacks in a container is named now, not by a mount that fails in the middle.
host_check() {
    if ! unshare --mount --pid --fork --propagation private true; then
        lab_say "mount and pid namespaces cannot be made here, because CAP_SYS_ADMIN is missing or this is a chroot: run it on a machine, or in a privileged container"
        return 1
    fi
}
