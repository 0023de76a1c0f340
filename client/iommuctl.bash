# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of iommuctl(1) for bash. Addresses come from sysfs: completing must not start the daemon.

_iommuctl_addresses() {
    (cd /sys/bus/pci/devices 2>/dev/null && printf '%s\n' ????*:??:??.?)
}

_iommuctl_groups() {
    (cd /sys/kernel/iommu_groups 2>/dev/null && printf '%s\n' [0-9]*)
}

_iommuctl_leases() {
    local lease
    [[ $(busctl --system call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus \
        NameHasOwner s org.iommud1 2>/dev/null) == 'b true' ]] || return
    iommuctl list leases 2>/dev/null | while read -r lease _; do
        [[ $lease == LEASE ]] || printf '%s\n' "$lease"
    done
}

_iommuctl_cgroups() {
    (cd /sys/fs/cgroup 2>/dev/null && find . -mindepth 1 -maxdepth 3 -type d -printf '/%P\n')
}

# The place of COMMAND in "run [OPTIONS] [--] COMMAND ...", or nothing while options are still being typed.
_iommuctl_command_at() {
    local i
    for ((i = verb_at + 1; i < cword; i++)); do
        case ${words[i]} in
            --) echo $((i + 1)); return ;;
            -d | --device | --members | --hand-over | --driver | --pasids | --reservation | --wait) ((i++)) ;;
            -*) ;;
            *) echo "$i"; return ;;
        esac
    done
}

_iommuctl() {
    local verbs='list tree show explain acquire run plug unplug release revoke vfs quota health monitor'
    local request='--members --hand-over --driver --pasids --reset-set --force-in-use --no-restore --reservation'
    local words=() cur prev line=${COMP_LINE:0:COMP_POINT} verb='' verb_at=0 choice='' cword at i

    # An address has colons, and bash may break words at them: so the words are split anew.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
    prev=${words[cword - 1]}
    for ((i = 1; i < cword; i++)); do
        if [[ ${words[i]} != -* ]]; then
            verb=${words[i]} verb_at=$i
            break
        fi
    done

    if [[ $verb == run ]]; then
        at=$(_iommuctl_command_at)
        if [[ -n $at ]]; then
            if ((at >= cword)); then
                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            else
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            fi
            return
        fi
    fi

    case $prev in
        -d | --device | --members) choice=$(_iommuctl_addresses) ;;
        --hand-over) choice='unbound attached group node none' ;;
        --as) choice=$(compgen -u) ;;
        --qmp)
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        --driver | --pasids | --reservation | --wait | --deadline | --reason | --bus | --id | --iommufd) return ;;
        *)
            case $verb in
                '') choice="$verbs --help --version" ;;
                list) choice='devices groups leases --all --json --help' ;;
                tree) choice='--all --json --help' ;;
                show) choice="$(_iommuctl_addresses) $(_iommuctl_groups) $(_iommuctl_leases) --json --help" ;;
                explain) choice="$(_iommuctl_addresses) $request --as --json --help" ;;
                acquire) choice="$(_iommuctl_addresses) $request --wait --json --help" ;;
                run) choice="--device $request --wait --help --" ;;
                plug) choice="$(_iommuctl_addresses) --qmp --bus --id --iommufd --members --driver --force-in-use --reservation --wait --help" ;;
                unplug) choice="$(_iommuctl_addresses) --qmp --id --help" ;;
                release) choice="$(_iommuctl_leases) --reason --no-wait --help" ;;
                revoke) choice="$(_iommuctl_leases) --deadline --reason --no-wait --help" ;;
                vfs) choice="$(_iommuctl_addresses) --force-in-use --help" ;;
                quota)
                    case $prev in
                        set | unset) choice="/ $(_iommuctl_cgroups)" ;;
                        *) choice='set unset --runtime --json --help' ;;
                    esac
                    ;;
                health) choice='--json --help' ;;
                monitor) choice='--json --help' ;;
            esac
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$choice" -- "$cur")

    # What stands before the last colon is on the line already.
    if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*:}"}"}")
    fi
}

complete -F _iommuctl iommuctl
