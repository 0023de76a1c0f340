/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#include "bpf/gate.h"
#include "gate.skel.h"
#include "kernel/gate-pin.h"
#include "kernel/gate.h"
#include "util/fd.h"

DEFINE_CLEANUP(struct gate_bpf, gate_bpf__destroy)

static bool has_word(const char *list, const char *word) {
        size_t n = strlen(word);

        for (const char *p = list; (p = strstr(p, word)); p += n)
                if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == '\0'))
                        return true;
        return false;
}

/* LSM programs are never called unless the kernel was started with "bpf" among its security modules. Nothing else would do: Linux (7.2)
 * skips a program that changes what security_file_ioctl() returns (fmod_ret) for a thread that comes by while another one was preempted
 * in it, and of 64 threads that raced for 2 PASIDs up to 15 got one. */
static bool has_bpf_lsm(void) {
        char list[256];

        return fd_read_text(AT_FDCWD, "/sys/kernel/security/lsm", list, sizeof(list)) >= 0 && has_word(list, "bpf");
}

static void choose_programs(struct gate_bpf *skel) {
        /* A kernel without SVA lacks it. */
        if (libbpf_find_vmlinux_btf_id("iommu_sva_bind_device", BPF_TRACE_FENTRY) < 0) {
                (void) bpf_program__set_autoload(skel->progs.bind_begin, false);
                (void) bpf_program__set_autoload(skel->progs.bind_end, false);
        }
}

static int pin_maps(struct gate_bpf *skel) {
        struct bpf_map *map;
        char path[128];
        int r = 0;

        bpf_object__for_each_map(map, skel->obj) {
                (void) snprintf(path, sizeof(path), "%s/map_%s", GATE_PIN_NEW, bpf_map__name(map));
                if (!bpf_map__is_internal(map))
                        r = bpf_map__pin(map, path);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Attaches each program and pins its link; until all of them are there nobody depends on any. */
static int attach_programs(struct gate_bpf *skel) {
        struct bpf_program *program;
        char path[128];

        bpf_object__for_each_program(program, skel->obj) {
                struct bpf_link *link;
                int r;

                if (!bpf_program__autoload(program))
                        continue;
                link = bpf_program__attach(program);
                if (!link)
                        return -errno;
                (void) snprintf(path, sizeof(path), "%s/link_%s", GATE_PIN_NEW, bpf_program__name(program));
                r = bpf_link__pin(link, path);
                (void) bpf_link__destroy(link);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What no lease is charged for has a tally, too. */
static int make_first_tally(struct gate_bpf *skel) {
        GateTally empty = {};
        GateId nobody = {};

        return bpf_map__update_elem(skel->maps.lease_tallies, &nobody, sizeof(nobody), &empty, sizeof(empty), BPF_ANY);
}

/* The errno says enough, and libbpf would say pages. */
static int say_nothing(_unused_ enum libbpf_print_level level, _unused_ const char *format, _unused_ va_list ap) {
        return 0;
}

int gate_load(void) {
        _cleanup_(gate_bpf__destroyp) struct gate_bpf *skel = NULL;
        _cleanup_close_ int there = gate_pin_lock(LOCK_SH);
        int r;

        if (there >= 0 || there == -EBUSY)
                return 0;
        if (!has_bpf_lsm())
                return -ENOSYS;
        (void) gate_pin_remove_unused();
        (void) libbpf_set_print(say_nothing);
        skel = gate_bpf__open();
        if (!skel)
                return -errno;
        choose_programs(skel);
        r = gate_bpf__load(skel);
        if (r >= 0)
                r = make_first_tally(skel);
        if (r >= 0)
                r = gate_pin_begin();
        if (r >= 0)
                r = pin_maps(skel);
        if (r >= 0)
                r = attach_programs(skel);
        return r < 0 ? r : gate_pin_commit();
}

int gate_unload(void) {
        return gate_pin_remove_unused();
}
