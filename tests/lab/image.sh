# image.sh: makes the guest's disk from the tree and the kernel's modules. Sourced by build; its text is part of the image's key.
lab_make_image() {
    local tmp=$1
    mkdir -p "$tmp"
    # The modules pass through the tree, which images for other kernels are made from, too.
    exec 8> "$LAB_TREE.modules.lock"
    flock 8
    rm -rf "$LAB_TREE/root/usr/lib/modules"
    cp -a "$LAB_KERN/modules" "$LAB_TREE/root/usr/lib/modules"
    mke2fs -q -t ext4 -L lab -m 0 -E lazy_itable_init=1 -d "$LAB_TREE/root" "$tmp/root.img" 6G
}
