# kernel.sh: makes the lab's kernel from Debian's source package, inside the tree. Sourced by build; its text is part of the kernel's key.
lab_make_kernel() {
    local tmp=$1
    mkdir -p "$tmp/kbuild"
    cp "$LAB_HERE/kernel.config" "$tmp/kbuild/fragment"
    cat > "$tmp/kbuild/make" <<'M'
set -eu
series=$1
cd /kbuild
apt-get -qq update
apt-get -qq download "linux-source-$series"
echo "unpacking"
dpkg -x linux-source-*.deb deb
tar xf "deb/usr/src/linux-source-$series.tar.xz"
mkdir -p out
run() { make -s -C "/kbuild/linux-source-$series" O=/kbuild/out "$@"; }
run alldefconfig
(cd "linux-source-$series" && scripts/kconfig/merge_config.sh -m -O /kbuild/out /kbuild/out/.config /kbuild/fragment > /dev/null)
run olddefconfig
# An option of the fragment that did not survive would make a test pass or fail for the wrong reason.
missing=0
while read -r option; do
    grep -qxF "$option" out/.config || { echo "lost: $option"; missing=1; }
done <<L
$(sed -n 's/^\(CONFIG_[A-Z0-9_]*=[ym]\).*/\1/p' fragment)
L
[ $missing = 0 ]
make -C "/kbuild/linux-source-$series" O=/kbuild/out -j"$(nproc)" bzImage modules
run INSTALL_MOD_PATH=/kbuild/modules INSTALL_MOD_STRIP=1 modules_install
cp out/arch/x86/boot/bzImage out/.config /kbuild/
ls linux-source-*.deb > version
M
    lab_in_tree --bind "$tmp/kbuild:/kbuild" -- sh /kbuild/make "$LAB_KERNEL"
    mv "$tmp/kbuild/bzImage" "$tmp/kbuild/version" "$tmp/"
    mv "$tmp/kbuild/.config" "$tmp/config"
    mv "$tmp/kbuild/modules/lib/modules" "$tmp/modules"
    rm -f "$tmp"/modules/*/build "$tmp"/modules/*/source
    rm -rf "$tmp/kbuild"
}
