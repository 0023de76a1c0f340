# stock.sh: Debian's own kernel, with the modules that the lab's machines need in an initial RAM disk. Sourced by build; its text is
# part of the kernel's key.
lab_make_stock() {
    local tmp=$1
    mkdir -p "$tmp/stock"
    cat > "$tmp/stock/init" <<'I'
#!/bin/sh
# The kernel's arguments for the first program of the lab's disk come here as ours.
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in virtio_pci virtio_blk ext4; do modprobe "$module"; done
mount -t ext4 -o noatime /dev/vda /root
cp -a /usr/lib/modules/. /root/usr/lib/modules/
exec switch_root /root /bin/sh "$@"
I
    cat > "$tmp/stock/make" <<'M'
set -eu
cd /stock
apt-get -qq update
package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p')
apt-get -qq download "$package"
echo "unpacking $package"
dpkg -x "$package"_*.deb deb
version=${package#linux-image-}
mkdir -p disk/dev disk/proc disk/sys disk/run disk/root disk/usr/bin disk/usr/lib "disk/usr/lib/modules/$version"
ln -s usr/bin disk/bin; ln -s usr/bin disk/sbin; ln -s usr/lib disk/lib; ln -s usr/lib64 disk/lib64
ln -s bin disk/usr/sbin
depmod -b deb/usr "$version"
for module in virtio_pci virtio_blk virtio_console virtio_rng ext4 9p 9pnet_virtio nvme e1000 e1000e igb uio_pci_generic \
    vfio_pci vfio_iommu_type1 pci_stub; do
    modprobe -d deb/usr -S "$version" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r file; do
    to=disk/usr/lib/modules/$version/${file#*/modules/$version/}
    mkdir -p "$(dirname "$to")"
    case $file in *.xz) xz -dc "$file" > "${to%.xz}" ;; *) cp "$file" "$to" ;; esac
done
cp deb/usr/lib/modules/"$version"/modules.order deb/usr/lib/modules/"$version"/modules.builtin* disk/usr/lib/modules/"$version"/
depmod -b disk/usr "$version"
for program in sh mount modprobe cp switch_root; do
    path=$(command -v "$program")
    cp -L "$path" "disk/usr/bin/$program"
    ldd "$path" | sed -n 's,.*[ \t]\(/[^ ]*\) (.*,\1,p'
done | sort -u | while read -r library; do
    mkdir -p "disk/usr$(dirname "${library#/usr}")"
    cp -L "$library" "disk/usr${library#/usr}"
done
cp init disk/init
chmod 755 disk/init
(cd disk && find . | cpio --quiet -o -H newc) | zstd -q > initrd
cp deb/boot/vmlinuz-* vmlinuz
cp deb/boot/config-* config
M
    lab_in_tree --bind "$tmp/stock:/stock" -- sh /stock/make
    mv "$tmp/stock/vmlinuz" "$tmp/stock/initrd" "$tmp/stock/config" "$tmp/"
    rm -rf "$tmp/stock"
}
