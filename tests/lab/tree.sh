# tree.sh: makes the Debian tree. Sourced by build. Its text is part of the tree's key: what changes here makes a new tree.
lab_mirror() {      # the mirror that the host's own apt uses
    awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || awk '/^deb /{print $2; exit}' /etc/apt/sources.list
}

lab_make_tree() {
    local tmp=$1 mirror key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    mirror=${LAB_MIRROR:-$(lab_mirror)}
    mkdir -p "$tmp"
    printf 'Package: qemu-* seabios ipxe-qemu linux-source-* bpftool\nPin: release n=%s-backports\nPin-Priority: 990\n' "$LAB_SUITE" > "$tmp/pin"
    mmdebstrap --mode=root --variant=minbase --format=directory \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --setup-hook="mkdir -p \"\$1/etc/apt/preferences.d\" && cp '$tmp/pin' \"\$1/etc/apt/preferences.d/lab\"" \
        --include="$(sed 's/#.*//' "$LAB_HERE/packages" | xargs | tr ' ' ,)" \
        "$LAB_SUITE" "$tmp/root" - <<S
deb $key $mirror $LAB_SUITE main
deb $key $mirror $LAB_SUITE-backports main
S
    local root=$tmp/root unit
    echo lab > "$root/etc/hostname"
    : > "$root/etc/machine-id"
    printf '/dev/vda / ext4 rw,noatime 0 1\n' > "$root/etc/fstab"
    chroot "$root" useradd -m -s /bin/bash -u 1000 alice
    chroot "$root" useradd -m -s /bin/bash -u 1001 bob
    # Timers and consoles would run beside the tests.
    for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer fstrim.timer \
        man-db.timer systemd-firstboot.service getty@tty1.service serial-getty@ttyS0.service mdmonitor-oneshot.timer mdcheck_start.timer \
        mdcheck_continue.timer; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' > "$tmp/versions"
}
