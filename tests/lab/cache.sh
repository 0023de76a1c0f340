# cache.sh: where the lab keeps what takes long to make, and under which key. Sourced, never run.
# Every entry is a directory made whole under another name and then renamed, so that a broken run leaves no half entry.
LAB_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_SRC=$(cd "$LAB_HERE/../.." && pwd)
LAB_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/iommud
LAB_SUITE=trixie
LAB_KERNEL=7.2

lab_key() { cat "$@" | sha256sum | cut -c1-16; }

LAB_TREE=$LAB_CACHE/tree-$LAB_SUITE-$(lab_key "$LAB_HERE/packages" "$LAB_HERE/tree.sh")
LAB_KERN=$LAB_CACHE/kernel-$LAB_KERNEL-$(lab_key "$LAB_HERE/kernel.config" "$LAB_HERE/kernel.sh")
LAB_STOCK=$LAB_CACHE/stock-$(lab_key "$LAB_HERE/stock.sh" "$LAB_HERE/packages" "$LAB_HERE/tree.sh")
LAB_IMAGE=$LAB_CACHE/image-$(printf '%s' "${LAB_TREE##*-}${LAB_KERN##*-}" | cat - "$LAB_HERE/image.sh" | sha256sum | cut -c1-16)

lab_say() { printf 'lab: %s\n' "$*" >&2; }

# lab_step WHAT LOG COMMAND...: runs COMMAND with its output in LOG; a line every ten seconds says that it is alive and where it is.
lab_step() {
    local what=$1 log=$2 start=$SECONDS rc=0 pid
    shift 2
    lab_say "$what ..."
    "$@" >"$log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if (( (SECONDS - start) % 10 == 9 )); then
            lab_say "  $what: $((SECONDS - start)) s, $(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-90)"
        fi
    done
    wait "$pid" || rc=$?
    if [ $rc -ne 0 ]; then
        lab_say "$what failed with status $rc; the end of $log:"
        tail -n 25 "$log" >&2
        return $rc
    fi
    lab_say "$what: done in $((SECONDS - start)) s"
}

# lab_in_tree [--bind DIR:MOUNTPOINT]... [--dir DIR] -- COMMAND...: COMMAND as root inside the tree, in a mount and pid namespace of its own.
lab_in_tree() {
    local binds=() dir=/ b
    while [ "$1" != -- ]; do
        case $1 in
            --bind) binds+=("$2"); shift 2 ;;
            --dir) dir=$2; shift 2 ;;
            *) lab_say "lab_in_tree: unknown option $1"; return 2 ;;
        esac
    done
    shift
    unshare --mount --pid --fork --kill-child --propagation private bash -euc '
        root=$1 dir=$2 n=$3; shift 3
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=1777 tmp "$root/tmp"
        mount -t tmpfs -o mode=0755 run "$root/run"
        for ((i = 0; i < n; i++)); do
            mkdir -p "$root${1#*:}"; mount --rbind "${1%%:*}" "$root${1#*:}"; shift
        done
        exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd \"\$0\" && exec \"\$@\"" "$dir" "$@"
    ' lab-in-tree "$LAB_TREE/root" "$dir" "${#binds[@]}" "${binds[@]}" "$@"
}
